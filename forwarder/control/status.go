package control

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/health"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// WorkerView is where a worker's counters are read.
type WorkerView struct {
	Counters *forwarder.Counters
	Receiver interface{ Stats() pktio.RxStats }
	Servers  interface{ Stats() pktio.TxStats }
	Clients  interface{ Stats() pktio.TxStats }
	// Of forwarder.Worker; nil: nobody waits for this worker.
	Round, Emptied func() uint64
}

// Status gathers the director's state.
func (c *Control) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		Version: c.cfg.Version, Node: c.cfg.Node, Cluster: c.cluster.Name, Digest: c.cluster.Digest(),
		Role: "backup", Started: c.started, Configured: c.configured, Rejected: c.rejected,
		Timeouts: Timeouts{
			TCP:    c.cluster.Forwarding.Timeouts.Established,
			TCPFin: c.cluster.Forwarding.Timeouts.FinWait,
			UDP:    c.cluster.Forwarding.Timeouts.UDP,
		},
	}
	if c.active {
		s.Role = "active"
	}
	half, bound := c.cfg.Table.HalfOpen()
	s.Table = TableStatus{
		Size: c.cfg.Table.Cap(), Used: c.cfg.Table.Len(), HalfOpen: half, HalfOpenBound: bound,
		StateFile: strings.TrimSuffix(c.cfg.Registry, RegistrySuffix), Recovered: c.cfg.Origin.Recovered,
	}
	checks := c.checkTexts()
	for i := range c.cluster.Services {
		s.Services = append(s.Services, c.serviceStatus(i, checks))
	}
	for _, w := range c.cfg.Workers {
		s.Workers = append(s.Workers, w.status())
	}
	n := c.cfg.Neighbours.Status()
	for _, e := range n.Targets {
		s.Neighbours = append(s.Neighbours, Neighbour{Address: e.Addr.String(), MAC: macText(e.MAC), State: e.State.String(), LastSeen: e.LastSeen, Changes: e.Changes})
	}
	for _, v := range n.VIPs {
		if v.Conflicts > 0 {
			s.Conflicts = append(s.Conflicts, Conflict{VIP: v.Addr.String(), MAC: macText(v.Rival), Device: v.Device, Count: v.Conflicts, Last: v.Last})
		}
	}
	return s
}

// checkTexts returns the last result of each health check, by its key.
func (c *Control) checkTexts() map[string]string {
	texts := map[string]string{}
	for _, h := range c.cfg.Health.Status() {
		texts[h.Key] = h.LastResult
		if h.Known && !h.Up && h.LastOutcome == health.Pass {
			texts[h.Key] = "passes again, not yet often enough: " + h.LastResult
		}
	}
	return texts
}

// RegistrySuffix is what a state file's name gets for the registry beside it.
const RegistrySuffix = ".backends"

func (c *Control) serviceStatus(i int, checks map[string]string) Service {
	conf := &c.cluster.Services[i]
	s := Service{
		Name: conf.Name, VIP: conf.VIP.String(), Protocol: string(conf.Protocol),
		Ports: portText(conf.Ports), FirstPort: conf.Ports[0].First,
		Scheduler: conf.Scheduler, Flags: conf.Flags, OnePacket: conf.OnePacket,
		Persistence: conf.Persistence.Timeout,
	}
	if conf.Ports.Any() {
		s.FirstPort = 0
	}
	if s.Persistence != 0 {
		s.Netmask = conf.Persistence.Netmask
	}
	for j := range c.servers[i] {
		v := c.serverStatus(conf, &c.servers[i][j], checks)
		s.Servers = append(s.Servers, v)
		s.Traffic.add(v.Traffic)
		s.Rates.add(v.Rates)
	}
	return s
}

func (c *Control) serverStatus(conf *cluster.Service, st *serverState, checks map[string]string) Server {
	load := st.record.load
	v := Server{
		Name: st.conf.Name, Address: st.shown.String(), Weight: st.weight(), Configured: st.conf.Weight,
		Upper: st.conf.Upper, Lower: st.conf.Lower, Active: load.Active(), Inactive: load.Inactive(),
		Traffic: trafficOf(st.record.stats), Check: checks[targetKey(conf, st.conf.Name)],
	}
	if st.override.weight >= 0 {
		v.Runtime = append(v.Runtime, ServerAction{Service: conf.Name, Server: v.Name, Action: "weight", Weight: st.override.weight})
	}
	if st.override.action != "" {
		v.Runtime = append(v.Runtime, ServerAction{Service: conf.Name, Server: v.Name, Action: st.override.action})
	}
	if st.override.action == "drain" {
		v.Weight = 0
	}
	if st.resolved {
		v.MAC = macText(st.mac)
	}
	if m := c.meters[st.record.stats]; m != nil {
		v.Rates = m.rates
	}
	v.State, v.Why = c.judge(conf, st, v.Check)
	return v
}

// judge says in a word and a sentence why a server gets no new connection.
func (c *Control) judge(conf *cluster.Service, st *serverState, check string) (state, why string) {
	name := conf.Name + " " + st.conf.Name
	switch {
	case st.override.action == "maint":
		return "maint", "taken out by an operator: svm-fwd server ready " + name
	case !st.resolved:
		return "unresolved", fmt.Sprintf("no answer to ARP/NDP for %s on the server network: is it on, on this segment, and is its address right?", st.addr)
	case !st.known:
		return "checking", "the first health check has no result yet"
	case !st.up:
		return "down", "health check: " + check
	case st.override.action == "drain":
		return "drain", "drained by an operator: svm-fwd server ready " + name
	case st.weight() == 0:
		return "drain", "its weight is 0: it keeps its connections and gets no new one"
	case st.record.load.Overloaded():
		return "overloaded", fmt.Sprintf("it has reached its upper threshold of %d connections", st.conf.Upper)
	}
	return "ready", ""
}

// Connections calls visit for every entry of the connection table until it
// returns false. It holds no lock: the table goes on meanwhile.
func (c *Control) Connections(visit func(Connection) bool) {
	snap := c.cfg.Snapshot.Load()
	now := c.cfg.Now()
	c.cfg.Table.Range(func(k *frame.Key, e flow.Entry, deadline flow.Tick) bool {
		left := now.Until(deadline)
		if left <= 0 {
			return true
		}
		conn := Connection{
			Protocol: "IP", Expires: time.Duration(left) * time.Millisecond, State: e.Meta.State().String(),
			Source:  netip.AddrPortFrom(k.Src(), k.SrcPort()).String(),
			Virtual: netip.AddrPortFrom(k.Dst(), k.DstPort()).String(),
		}
		port := k.DstPort()
		switch {
		case k.Kind() == frame.KeyFragment: // its ports are an identification
			port = 0
			conn.Source = netip.AddrPortFrom(k.Src(), 0).String()
			conn.Virtual = netip.AddrPortFrom(k.Dst(), 0).String()
		case k.Kind() == frame.KeyTemplate:
		case k.Proto() == frame.ProtoTCP:
			conn.Protocol = "TCP"
		case k.Proto() == frame.ProtoUDP:
			conn.Protocol = "UDP"
		}
		if b := snap.Backend(e.Meta.Backend()); b != nil {
			conn.Name, conn.Service = b.Name, b.Service.Name
			conn.Server = netip.AddrPortFrom(b.Addr, port).String()
		}
		return visit(conn)
	})
}

func (w *WorkerView) status() Worker {
	rx, tx, back := w.Receiver.Stats(), w.Servers.Stats(), w.Clients.Stats()
	s := Worker{
		Received: rx.Packets, Dropped: rx.Dropped, Truncated: rx.Truncated,
		Sent: tx.Packets, Busy: tx.Busy + back.Busy, TooLong: tx.TooLong + back.TooLong, Errors: tx.Errors + back.Errors,
		Replies: back.Packets, Reasons: map[string]uint64{}, Verdicts: map[string]uint64{},
	}
	for r := range forwarder.NumReasons {
		if n := w.Counters[r].Load(); n > 0 {
			s.Reasons[r.String()] += n
			s.Verdicts[r.Verdict().String()] += n
		}
	}
	return s
}

func macText(m [6]byte) string {
	if m == [6]byte{} {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

func names[T any](list []T, name func(T) string) string {
	var all []string
	for _, v := range list {
		all = append(all, name(v))
	}
	return strings.Join(all, ", ")
}
