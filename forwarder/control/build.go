package control

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/sched"
)

// override is what an operator set at run time for one server of one service.
type override struct {
	action string // drain | maint | "" (ready)
	weight int    // -1: as configured
}

// serverState is everything known of one backend when a Snapshot is built.
type serverState struct {
	conf     *cluster.Server
	addr     netip.Addr // the real server's: its identity, and what is resolved
	shown    netip.Addr // its address of the VIP's family, if it has one
	record   *record
	mac      [6]byte
	resolved bool
	checked  bool // a health check is configured
	up       bool // its verdict; true without one
	known    bool // there is a verdict
	awaited  bool // its MAC address was never known yet
	override override
}

// weight returns the weight in force, whatever the server's state.
func (s *serverState) weight() int {
	if s.override.weight >= 0 {
		return s.override.weight
	}
	return s.conf.Weight
}

// accepting tells whether it may get new connections, weight and load permitting.
func (s *serverState) accepting() bool {
	return s.resolved && s.up && s.override.action == ""
}

// hashed tells whether connections that are not in the table may be on it: also
// while nothing is known of it yet, because it may just as well be fine.
func (s *serverState) hashed() bool {
	return (s.resolved || s.awaited) && (s.up || !s.known) && s.override.action == "" && s.weight() > 0
}

// cut tells whether its connections are given up.
func (s *serverState) cut(c *cluster.Check) bool {
	return s.override.action == "maint" || c.CutOff && s.checked && s.known && !s.up
}

// schedulers are a service's schedulers and what they were made from: while that
// stays the same they stay, with their cursors.
type schedulers struct {
	made      []sched.Backend
	hashed    []sched.Backend
	name      string
	flags     []string
	pick      sched.Scheduler
	stateless sched.Scheduler
}

// builder makes Snapshots.
type builder struct {
	key       [16]byte
	clientMAC frame.MAC
	serverMAC frame.MAC
	services  map[string]*schedulers // by name
}

// build makes a Snapshot from everything that is known, and returns the schedulers
// that b.services becomes once it is published. servers has an entry per service
// and server, in the order of the file.
func (b *builder) build(c *cluster.Cluster, servers [][]serverState, active bool) (*forwarder.Snapshot, map[string]*schedulers, error) {
	snap := &forwarder.Snapshot{
		Active:    active,
		ClientMAC: b.clientMAC,
		VIPs:      map[netip.Addr]*forwarder.VIP{},
		Timeouts:  forwarder.MakeTimeouts(timeouts(&c.Forwarding.Timeouts)),
	}
	next := map[string]*schedulers{}
	for i := range c.Services {
		conf := &c.Services[i]
		s := b.service(conf)
		var list, hashed []sched.Backend
		for j := range servers[i] {
			st := &servers[i][j]
			backend := b.backend(s, st, &conf.Check)
			for len(snap.Backends) <= st.record.Index {
				snap.Backends = append(snap.Backends, nil)
			}
			snap.Backends[st.record.Index] = backend
			// Only those that may be picked: sh and dh would refuse the clients of
			// one that is there with weight 0, as IPVS does.
			if backend.Accepting {
				s.Backends = append(s.Backends, backend)
				list = append(list, sched.Backend{ID: st.addr.String(), Weight: st.weight(), Load: st.record.load})
			}
			if st.hashed() {
				s.Hashed = append(s.Hashed, backend)
				hashed = append(hashed, sched.Backend{ID: st.addr.String(), Weight: st.weight(), Load: st.record.load})
			}
		}
		made, err := b.schedulers(conf, list, hashed)
		if err != nil {
			return nil, nil, fmt.Errorf("service %s: %w", conf.Name, err)
		}
		next[conf.Name] = made
		s.Scheduler, s.Stateless = made.pick, made.stateless
		vip := snap.VIPs[s.VIP]
		if vip == nil {
			vip = &forwarder.VIP{}
			snap.VIPs[s.VIP] = vip
		}
		vip.Services = append(vip.Services, s)
	}
	return snap, next, nil
}

func (b *builder) service(conf *cluster.Service) *forwarder.Service {
	s := &forwarder.Service{
		Name:      conf.Name,
		VIP:       conf.VIP,
		Proto:     frame.ProtoTCP,
		OnePacket: conf.OnePacket,
	}
	if conf.Protocol == cluster.UDP {
		s.Proto = frame.ProtoUDP
	}
	for _, r := range conf.Ports {
		s.Ports = append(s.Ports, forwarder.PortRange(r))
	}
	if t := conf.Persistence.Timeout; t > 0 {
		s.Persistence = uint32(t.Milliseconds())
		s.MaskHi, s.MaskLo = frame.MaskWords(conf.Persistence.Netmask, conf.VIP.Is4())
	}
	return s
}

func (b *builder) backend(s *forwarder.Service, st *serverState, check *cluster.Check) *forwarder.Backend {
	return &forwarder.Backend{
		Ref:       forwarder.MakeRef(st.record.Index, st.record.Generation),
		Service:   s,
		Name:      st.conf.Name,
		Addr:      st.shown,
		Addresses: frame.MakeAddresses(st.mac, b.serverMAC),
		Resolved:  st.resolved,
		Accepting: st.accepting() && st.weight() > 0,
		Cut:       st.cut(check),
		Load:      st.record.load,
		Stats:     st.record.stats,
	}
}

// schedulers makes a service's schedulers, or keeps the ones it has.
func (b *builder) schedulers(conf *cluster.Service, list, hashed []sched.Backend) (*schedulers, error) {
	old := b.services[conf.Name]
	if old != nil && old.name == conf.Scheduler && slices.Equal(old.flags, conf.Flags) &&
		slices.Equal(old.made, list) && slices.Equal(old.hashed, hashed) {
		return old, nil
	}
	n := &schedulers{made: list, hashed: hashed, name: conf.Scheduler, flags: conf.Flags}
	var prevPick, prevStateless sched.Scheduler
	if old != nil {
		prevPick, prevStateless = old.pick, old.stateless
	}
	var err error
	n.pick, err = sched.New(sched.Config{Name: conf.Scheduler, Flags: conf.Flags, Key: b.key}, list, prevPick)
	if err != nil {
		return nil, err
	}
	// Packets of a connection that is not in the table: its own scheduler can find
	// the server again if it is a hash. Thresholds are for new connections only.
	free := slices.Clone(hashed)
	for i := range free {
		free[i].Load = new(sched.Load)
	}
	cfg := sched.Config{Name: "mh", Flags: []string{"mh-port"}, Key: b.key}
	switch conf.Scheduler {
	case "sh", "dh", "mh":
		cfg.Name, cfg.Flags = conf.Scheduler, conf.Flags
	}
	n.stateless, err = sched.New(cfg, free, prevStateless)
	return n, err
}

func timeouts(t *cluster.Timeouts) flow.Timeouts {
	return flow.Timeouts{
		flow.Established: uint32(t.Established.Milliseconds()),
		flow.SynRecv:     uint32(t.SynRecv.Milliseconds()),
		flow.FinWait:     uint32(t.FinWait.Milliseconds()),
		flow.TimeWait:    uint32(t.TimeWait.Milliseconds()),
		flow.Close:       uint32(t.Close.Milliseconds()),
		flow.UDPNew:      uint32(t.UDP.Milliseconds()),
		flow.UDP:         uint32(t.UDP.Milliseconds()),
		flow.TemplateNew: uint32(t.SynRecv.Milliseconds()),
		flow.Template:    uint32(t.SynRecv.Milliseconds()), // the service's own time is set with it
		flow.Fragment:    uint32(t.Fragment.Milliseconds()),
	}
}
