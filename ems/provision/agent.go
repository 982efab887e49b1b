package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/machine"
)

// AutoDevice as AgentConfig.Device: the one of the cluster file, or on a bare machine
// its only Ethernet device.
const AutoDevice = "auto"

// AgentConfig configures an Agent.
type AgentConfig struct {
	Store    Store
	Pin      string // the station's public key, the base64 line
	Node     string // only this machine's part is taken; empty: whichever the directors have for its address
	HostName string // said to the directors' DHCP; empty: none
	// Cluster is this machine's own part of the cluster file, or nil as long as it has
	// none. It is called each round.
	Cluster func() *cluster.Cluster
	// Device is where an address may be set when it has none. Empty: never.
	Device    string
	Directors []netip.AddrPort // asked besides those of the cluster file or of DHCP
	Every     time.Duration    // 0: 10 s
	Patience  time.Duration    // with a push that may be going on; 0: 2 min
	Log       *slog.Logger
}

// Agent keeps a real server on what the directors have confirmed, and gets a bare one
// its address. It listens on no port. Run may be called once.
type Agent struct {
	cfg    AgentConfig
	rounds rounds

	lease   *lease
	placed  placed // with a lease: what it set
	found   []netip.AddrPort
	without time.Time // since when a configured machine has had no address
	after   time.Duration
	rest    time.Time // no DHCP before: RFC 2131, section 3.1, wants 10 s after a DECLINE
}

// NewAgent makes an Agent; Run starts it.
func NewAgent(cfg AgentConfig) *Agent {
	a := &Agent{cfg: cfg, after: addressAfter}
	a.rounds = rounds{store: cfg.Store, log: cfg.Log, asker: newAsker(), patience: orDefault(cfg.Patience, defaultPatience), fetch: a.fetch}
	return a
}

// Run goes on until ctx ends, and then takes away an address that no configuration has
// confirmed. Nothing but ctx ends it; the error is of taking it away.
func (a *Agent) Run(ctx context.Context) error {
	for {
		if err := a.round(ctx); err != nil && ctx.Err() == nil {
			a.rounds.complain(err)
		}
		every := orDefault(a.cfg.Every, 10*time.Second)
		if a.rounds.patient.phase == machine.Bare {
			every = min(every, 2*time.Second)
		}
		if !sleep(ctx, jitter(every)) {
			return a.leave()
		}
	}
}

func (a *Agent) leave() error {
	if a.lease != nil {
		if err := a.dhcp(a.placed.device).release(a.lease); err != nil {
			a.cfg.Log.Warn("give the lease back", "error", err)
		}
		a.lease = nil
	}
	return a.placed.undo()
}

func (a *Agent) round(ctx context.Context) error {
	st, err := a.cfg.Store.State(ctx)
	if err != nil {
		return err
	}
	a.rounds.patient.stalled(&st, time.Now())
	had := a.lease
	if err := a.address(ctx, &st); err != nil && !errors.Is(err, context.Canceled) {
		// The directors may be reached all the same: by IPv6, or another device.
		a.rounds.complain(err)
	}
	if l := a.lease; l != nil && had == nil {
		a.cfg.Log.Info("got an address", "address", l.prefix.String(), "device", a.placed.device, "name", l.name,
			"director", l.raw.ACK.ServerIdentifier().String(), "for", time.Until(l.until).Round(time.Second))
	}
	return a.rounds.round(ctx, a.directors(&st))
}

// directors are those of the own cluster file; without one those that DHCP told; and
// always those given.
func (a *Agent) directors(st *machine.State) []netip.AddrPort {
	var all []netip.AddrPort
	add := func(at netip.AddrPort) {
		if !slices.Contains(all, at) && len(all) < 8 {
			all = append(all, at)
		}
	}
	if c := a.cfg.Cluster(); c != nil && st.Phase != machine.Bare {
		for i := range c.Directors {
			s := &c.Directors[i].Server
			for _, at := range []netip.Addr{s.Address, s.Address6} {
				if at.IsValid() {
					add(netip.AddrPortFrom(at, c.Delivery.ConfigPort))
				}
			}
		}
	}
	for _, at := range append(slices.Clone(a.cfg.Directors), a.found...) {
		add(at)
	}
	return all
}

func (a *Agent) fetch(ctx context.Context, st *machine.State, at netip.AddrPort) (offer, error) {
	raw, err := a.rounds.asker.part(ctx, at)
	if err != nil {
		return offer{}, err
	}
	node := st.Node
	if node == "" {
		node = a.cfg.Node
	}
	o, who, err := partOffer(raw, a.cfg.Pin, node)
	if err == nil && a.lease != nil && a.lease.name != "" && a.lease.name != who {
		err = fmt.Errorf("DHCP calls this machine %s, the part is of %s", a.lease.name, who)
	}
	return o, err
}

func (a *Agent) dhcp(device string) *dhcpClient {
	return &dhcpClient{device: device, hostName: a.cfg.HostName, timeout: 1500 * time.Millisecond}
}
