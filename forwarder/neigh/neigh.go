// Package neigh is the director's own neighbour discovery. It answers ARP and
// NDP for the virtual addresses (VIPs) with the director's MAC address, announces
// them, and finds and keeps fresh the MAC addresses of the real servers.
//
// # Answers
//
// VIPs are answered on the client device only: an ARP request gets a unicast
// reply, a neighbour solicitation a solicited and overriding advertisement.
// Probes of others for the same address (RFC 5227 ARP probe, RFC 4862 DAD) are
// answered too. Answers are limited to 1000 a second, and to 100 a second (bursts
// of 512) for one asking MAC address, so that one flood does not starve the others;
// what is not answered is counted as Limited.
//
// # Announcements
//
// Becoming active announces every VIP at once, again after 100 ms and after 1 s,
// then every Config.Announce: gratuitous ARP as request and as reply, or an
// unsolicited overriding advertisement to ff02::1. When a frame could not be sent
// because the device was down the series starts again a second later.
//
// # Conflicts
//
// Another host that claims an active VIP on the client device, or any VIP on a
// server device, is a conflict: counted, logged and shown in Status. It is what
// tells that a real server's ARP leaks. A VIP that is still active 200 ms later is
// then announced again, at most every 10 s (RFC 5227, section 2.4 c).
//
// # Resolution
//
// A real server is asked for by broadcast (ARP) or its solicited-node group (NDP)
// until it answers, then by unicast every Config.Probe, with 10 % of jitter. An
// unanswered question is repeated after a quarter of that time; the third in a row
// turns the entry stale, and questions are broadcast again. So a MAC address that
// changes without a word is noticed within about two probe intervals. A stale MAC
// address is still used for Config.Hold, then the entry is failed and Lookup says no.
//
// # A new MAC address for a known server
//
// Gratuitous ARP, an overriding advertisement and any other message of the server
// count. Yet a claim does not move a reachable server by itself: it is followed by
// a broadcast question and a unicast one to the old MAC address. When the new one
// answers within 100 ms and the old one does not, the entry moves; when the old one
// still answers, the claim is refused and counted, and the same claim is not looked
// into again for a second. A stale, failed or unknown entry takes the first valid answer.
package neigh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Interface is one network device of the director.
type Interface struct {
	Device string  // its name, for sockets, messages and Status
	Index  int     // its index in this network namespace
	MAC    [6]byte // its own MAC address
	// Addrs are the director's own addresses there, the senders of questions. The
	// first one of each family is used. Without one, ARP questions are sent from
	// 0.0.0.0 (an RFC 5227 probe, which Linux answers unless arp_ignore is above 2)
	// and NDP ones from the device's link-local address.
	Addrs []netip.Addr
}

// Config configures an Agent. Client and Server may be the same device.
type Config struct {
	Client, Server Interface
	Log            *slog.Logger  // nil: silent
	Probe          time.Duration // how often a known server is asked; default 1 s
	Hold           time.Duration // how long a stale MAC address is still used; default 5 s
	Announce       time.Duration // how often VIPs are announced again; default 60 s
}

// Agent answers for VIPs and resolves real servers. All methods may be called by
// any goroutine at any time, also before and after Run.
type Agent struct {
	cfg     Config
	wake    chan struct{} // the schedule or the VIPs changed
	changes chan struct{}

	mu   sync.Mutex
	core core
}

// New checks the configuration. It opens nothing: Run does.
func New(cfg Config) (*Agent, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		def time.Duration
		v   *time.Duration
	}{{time.Second, &cfg.Probe}, {5 * time.Second, &cfg.Hold}, {time.Minute, &cfg.Announce}} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < 0 {
			return nil, errors.New("neigh: Probe, Hold and Announce must not be negative")
		}
	}
	for _, i := range []struct {
		side string
		Interface
	}{{"client", cfg.Client}, {"server", cfg.Server}} {
		if i.Index <= 0 || i.Device == "" {
			return nil, fmt.Errorf("neigh: the %s device has no name or index: is it there? (ip link show)", i.side)
		}
		if !unicastMAC(i.MAC) {
			return nil, fmt.Errorf("neigh: %s device %s has MAC address %s, which is no Ethernet unicast address: use an Ethernet device", i.side, i.Device, macString(i.MAC))
		}
	}
	a := &Agent{cfg: cfg, wake: make(chan struct{}, 1), changes: make(chan struct{}, 1)}
	a.core.init(&a.cfg, rand.Float64)
	return a, nil
}

// SetVIPs says which addresses are ours, the MAC address that answers for them,
// and whether this director is the active one. An inactive director answers and
// announces nothing. Becoming active, a new VIP, or a new MAC address announces at once.
func (a *Agent) SetVIPs(vips []netip.Addr, mac [6]byte, active bool) {
	a.mu.Lock()
	a.core.setVIPs(time.Now(), vips, mac, active)
	a.mu.Unlock()
	poke(a.wake)
}

// Announce starts the series of announcements again, for a director that must win
// back what another one said. An inactive one announces nothing.
func (a *Agent) Announce() {
	a.mu.Lock()
	a.core.announceAgain(time.Now())
	a.mu.Unlock()
	poke(a.wake)
}

// SetTargets says which real servers to resolve. What is known of those that stay is kept.
func (a *Agent) SetTargets(servers []netip.Addr) {
	a.mu.Lock()
	a.core.setTargets(time.Now(), servers)
	a.mu.Unlock()
	poke(a.wake)
}

// Lookup returns a real server's MAC address, and false when it is not known.
func (a *Agent) Lookup(server netip.Addr) (mac [6]byte, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.core.targets[plain(server)]; t != nil && t.known() {
		return t.mac, true
	}
	return mac, false
}

// Changes has a value whenever an answer of Lookup, a state or a conflict changed
// since it was last received from. Wake-ups are merged.
func (a *Agent) Changes() <-chan struct{} { return a.changes }

// Run opens the sockets and serves until ctx ends, then closes everything and
// returns nil. It fails when a socket cannot be opened, naming the device and the
// missing right. Call it once.
func (a *Agent) Run(ctx context.Context) error { return a.run(ctx) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
