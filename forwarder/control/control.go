package control

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/guard"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// Config is what a Control works with; it owns none of it.
type Config struct {
	Node    string
	Version string
	Load    func() (*cluster.Cluster, error) // reads the cluster file
	Log     *slog.Logger

	Table  *flow.Table
	Origin flow.Origin
	// Registry is the file beside the table's own that says what the table's
	// backend references mean. Empty: not kept.
	Registry string
	Snapshot *atomic.Pointer[forwarder.Snapshot]
	Workers  []WorkerView
	Now      func() flow.Tick

	Neighbours Neighbours
	Health     Health
	Guard      Guard
	Filter     Filter

	ClientMAC, ServerMAC frame.MAC
	ServerIndex          int      // interface index of the server device
	HashKey              [16]byte // the same on both directors
	// Mark returns the SO_MARK of the n-th real server's checks; nil: unmarked.
	Mark   func(n int) uint32
	Active bool // the role to begin with
	// Learn is how long at most, while the role moves, the other director's youngest
	// connections may still become known: see forwarder.Snapshot and Learned.
	Learn time.Duration

	Pair      Pair                                 // nil: this director is alone
	OnVIPs    func([]netip.Addr)                   // those of the file in force; may be nil
	OnLive    func(servers int)                    // how many real servers take new connections; may be nil
	OnForeign func(vip netip.Addr, claimed string) // another host claims a VIP; may be nil
}

// Control is the reconcile loop. Its methods are safe for concurrent use.
type Control struct {
	cfg     Config
	started time.Time

	loading sync.Mutex // held from reading the cluster file to having it in force

	mu         sync.Mutex
	ended      bool // Run has undone everything: nothing may be set on the host again
	cluster    *cluster.Cluster
	configured time.Time
	rejected   string // why the last reload was refused
	active     bool
	mute       bool // active, but it answers for no VIP: the role is on its way
	learns     bool // since it took the role, or began to give it away, until then
	learnUntil flow.Tick
	overrides  map[[2]string]override // by service and server name
	registry   *registry
	builder    builder
	marks      marks
	conflicts  map[netip.Addr]uint64
	asked      map[netip.Addr]time.Time // since when a server's MAC address is asked for; zero: it was known once
	lastMACs   map[netip.Addr][6]byte   // of real servers, as last known
	meters     map[*forwarder.Stats]*meter
	servers    [][]serverState // of the Snapshot in force
	guarded    guard.State     // what the guard was told last
	filter     pktio.Filter    // what the packet backends were told last
}

// New reads the cluster file and makes the first Snapshot, but touches nothing
// outside yet: Run does. Connections that a former process left in the table are
// given back to their servers.
func New(cfg Config) (*Control, error) {
	c := &Control{
		cfg:       cfg,
		started:   time.Now(),
		overrides: map[[2]string]override{},
		meters:    map[*forwarder.Stats]*meter{},
		marks:     marks{},
		conflicts: map[netip.Addr]uint64{},
		asked:     map[netip.Addr]time.Time{},
		lastMACs:  map[netip.Addr][6]byte{},
		builder:   builder{key: cfg.HashKey, clientMAC: cfg.ClientMAC, serverMAC: cfg.ServerMAC},
	}
	var known bool
	var err error
	if c.registry, known, err = openRegistry(cfg.Registry, cfg.Origin.Nonce); err != nil {
		return nil, err
	}
	if !known {
		cfg.Table.Reset()
	}
	conf, err := cfg.Load()
	if err != nil {
		return nil, err
	}
	p, err := c.plan(conf, cfg.Active)
	if err != nil {
		return nil, err
	}
	if err := c.commit(p); err != nil {
		return nil, err
	}
	c.configured = c.started
	cfg.Table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool {
		if b := p.snap.Backend(e.Meta.Backend()); b != nil {
			forwarder.Count(b.Load, e.Meta.State(), 1)
		}
		return true
	})
	return c, nil
}

// Run applies the configuration to the host and keeps everything in step until
// ctx ends; then it undoes what it set on the host.
func (c *Control) Run(ctx context.Context) error {
	c.mu.Lock()
	err := c.change(c.cluster, c.active)
	c.watch()
	c.mu.Unlock()
	if err == nil {
		c.loop(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.cfg.Neighbours.SetVIPs(nil, c.cfg.ClientMAC, false)
	return errors.Join(err, c.cfg.Filter.SetFilter(pktio.Filter{}), c.cfg.Guard.Undo())
}

func (c *Control) loop(ctx context.Context) {
	meter := time.NewTicker(meterInterval)
	defer meter.Stop()
	guard := time.NewTicker(guardInterval)
	defer guard.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.cfg.Neighbours.Changes():
		case <-c.cfg.Health.Changes():
		case <-meter.C:
			c.measure() // and look whose patience has ended
		case <-guard.C:
			c.reguard()
			continue
		}
		c.mu.Lock()
		if err := c.refresh(); err != nil {
			c.cfg.Log.Error("the state before stays in force", "err", err)
		}
		c.watch()
		c.mu.Unlock()
	}
}

// guardInterval is how often routes and rules are put back that somebody flushed
// or the kernel dropped with a device that went down.
const guardInterval = 5 * time.Second

func (c *Control) reguard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.cfg.Guard.Apply(c.guarded); err != nil {
		c.cfg.Log.Error("routes and rules are not what they should be", "err", err)
	}
}

// plan is a state to go to. Until commit nothing has changed.
type plan struct {
	cluster  *cluster.Cluster
	active   bool
	servers  [][]serverState
	registry *registry
	services map[string]*schedulers
	snap     *forwarder.Snapshot
}

// plan gathers what is known of every server and builds the Snapshot.
func (c *Control) plan(conf *cluster.Cluster, active bool) (*plan, error) {
	p := &plan{cluster: conf, active: active, registry: c.registry.next(), servers: make([][]serverState, len(conf.Services))}
	for i := range conf.Services {
		s := &conf.Services[i]
		for j := range s.Servers {
			st, err := c.gather(p, s, &s.Servers[j])
			if err != nil {
				return nil, err
			}
			p.servers[i] = append(p.servers[i], st)
		}
	}
	var err error
	if p.snap, p.services, err = c.builder.build(conf, p.servers, active); err == nil {
		p.snap.Learning = active && c.learns && c.cfg.Now().Until(c.learnUntil) > 0
		p.snap.LearnsUntil = c.learnUntil
	}
	return p, err
}

func (c *Control) gather(p *plan, s *cluster.Service, v *cluster.Server) (serverState, error) {
	rs := p.cluster.RealServer(v.Name)
	st := serverState{
		conf: v, addr: rs.Address, shown: rs.Addr(s.VIP.Is6()),
		checked: s.Check.Type != cluster.CheckNone, up: true, known: true,
		override: c.overrideOf(s.Name, v.Name),
	}
	if !st.shown.IsValid() {
		st.shown = rs.Address // direct routing needs a MAC address, of whichever family
	}
	st.mac, st.resolved = c.cfg.Neighbours.Lookup(rs.Address)
	st.awaited = c.awaited(rs.Address, st.resolved)
	if st.checked {
		st.up, st.known = c.cfg.Health.Up(targetKey(s, v.Name))
		st.up = st.up && st.known
	}
	var err error
	st.record, err = p.registry.take(s, rs.Address)
	return st, err
}

// patience is how long a server that was never heard of may yet turn up.
const patience = 3 * time.Second

// awaited tells whether a server's MAC address is not known only because it has
// just been asked for.
func (c *Control) awaited(server netip.Addr, resolved bool) bool {
	since, ok := c.asked[server]
	switch {
	case resolved:
		c.asked[server] = time.Time{}
		return false
	case !ok:
		since = time.Now()
		c.asked[server] = since
	}
	return time.Since(since) < patience
}

// commit makes a plan the state in force, for the workers at once.
func (c *Control) commit(p *plan) error {
	if err := p.registry.keep(); err != nil {
		return err
	}
	for _, list := range p.servers {
		for _, st := range list {
			st.record.load.SetThresholds(int64(st.conf.Upper), int64(st.conf.Lower))
		}
	}
	c.cfg.Snapshot.Store(p.snap)
	c.moved(p)
	c.logChanges(p)
	c.cluster, c.active, c.servers, c.registry, c.builder.services = p.cluster, p.active, p.servers, p.registry, p.services
	c.tellLive()
	return nil
}

func (c *Control) overrideOf(service, server string) override {
	if o, ok := c.overrides[[2]string{service, server}]; ok {
		return o
	}
	return override{weight: -1}
}

// Do carries out a change at run time. It lasts until the daemon ends.
func (c *Control) Do(a ServerAction) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.cluster.Service(a.Service)
	if s == nil {
		return absent("no service %q: there are %s", a.Service, names(c.cluster.Services, func(s cluster.Service) string { return s.Name }))
	}
	if !slices.ContainsFunc(s.Servers, func(v cluster.Server) bool { return v.Name == a.Server }) {
		return absent("service %s has no server %q: there are %s", s.Name, a.Server, names(s.Servers, func(v cluster.Server) string { return v.Name }))
	}
	o := c.overrideOf(a.Service, a.Server)
	switch a.Action {
	case "drain", "maint":
		o.action = a.Action
	case "ready":
		o = override{weight: -1}
	case "weight":
		if a.Weight < 0 || a.Weight > 65535 {
			return invalid("weight %d: want 0 to 65535", a.Weight)
		}
		o.weight = a.Weight
	default:
		return invalid("no action %q: want drain, ready, maint or weight", a.Action)
	}
	c.overrides[[2]string{a.Service, a.Server}] = o
	return c.refresh()
}
