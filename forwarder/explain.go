package forwarder

import (
	"fmt"
	"strings"
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/sched"
)

// Explanation says what would become of a packet, and why.
type Explanation struct {
	Verdict Verdict
	Reason  Reason
	Service string   // its name; empty when none takes the packet
	Backend string   // its name; empty unless the packet is forwarded
	State   string   // of the connection in the table, as ipvsadm names it; empty when there is none
	Steps   []string // plain sentences, in the order of the decisions
}

// Explain tells which backend a whole packet of k, a TCP segment with those flags
// or a UDP datagram, would get now, and why. It changes nothing: schedulers are
// asked by Peek. Safe for concurrent use; allocates, so it is not for the packets'
// own way.
//
// One thing it can't foresee: a packet that ends an old connection under the same
// key changes its server's load before the scheduler looks at it.
func Explain(t *flow.Table, s *Snapshot, k frame.Key, flags uint8, now flow.Tick) Explanation {
	x := explainer{table: t, core: &Core{table: t, snap: s, now: now}}
	x.packet.Key, x.packet.Flags, x.packet.Kind = k, flags, frame.Segment
	if k.Proto() == frame.ProtoUDP {
		x.packet.Flags, x.packet.Kind = 0, frame.Datagram
	}
	b, reason := x.decide()
	x.Reason, x.Verdict = reason, reason.Verdict()
	if x.Verdict == Forward {
		x.Backend = b.Name
		x.say("forward to %s (%v): %s", b.Name, b.Addr, reason)
	} else {
		x.say("%v: %s", x.Verdict, reason)
	}
	return x.Explanation
}

// explainer goes the way of Core.decide without leaving traces.
type explainer struct {
	Explanation
	table  *flow.Table
	core   *Core // for the decisions that are pure; it never processes
	packet frame.Packet
	gone   []flow.Entry // what Process would have removed by now
}

func (x *explainer) say(format string, args ...any) {
	x.Steps = append(x.Steps, fmt.Sprintf(format, args...))
}

func (x *explainer) decide() (*Backend, Reason) {
	snap, k := x.core.snap, &x.packet.Key
	if !snap.Active {
		x.say("this director is the backup and forwards nothing")
		return nil, Standby
	}
	if e, ok := x.table.Lookup(k, x.table.Hash(k)); ok {
		if b, reason := x.known(e); reason != 0 {
			return b, reason
		}
		x.gone = append(x.gone, e)
	} else {
		x.say("no such connection is in the table")
	}
	return x.unknown()
}

func (x *explainer) known(e flow.Entry) (*Backend, Reason) {
	state := e.Meta.State()
	left := x.core.now.Until(x.table.Deadline(e))
	b := x.core.snap.Backend(e.Meta.Backend())
	x.State = state.String()
	switch {
	case b == nil:
		x.say("a connection is in the table (%v), but its server is no longer configured", state)
	case left <= 0:
		x.say("a connection is in the table (%v to %s), but it expired %v ago", state, b.Name, span(-left))
	case b.Cut:
		x.say("a connection is in the table (%v), but its server %s is cut off and loses its connections", state, b.Name)
	case x.core.afresh(&x.packet, b, state):
		x.say("a connection is in the table (%v to %s), but a SYN begins a new one under its key", state, b.Name)
	case x.core.doubtful(&x.packet, state):
		x.say("a connection is in the table (%v to %s), but the role is moving, and the other director may know a new one under its key", state, b.Name)
		return nil, Unlearned
	default:
		x.Service = b.Service.Name
		x.say("connection is in the table: %v to %s of service %s, expires in %v", state, b.Name, b.Service.Name, span(left))
		if !b.Resolved {
			x.say("%s: %s", b.Name, noMAC)
		}
		return resolved(b, Known)
	}
	x.State = ""
	return nil, 0
}

const noMAC = "its MAC address is unknown: is it up, and on the directors' server network?"

func (x *explainer) unknown() (*Backend, Reason) {
	k := &x.packet.Key
	vip := x.core.snap.VIPs[k.Dst()]
	if vip == nil {
		x.say("%v is no VIP here", k.Dst())
		return nil, NotVIP
	}
	s := vip.Service(k.Proto(), k.DstPort())
	if s == nil {
		x.say("no service takes port %d of protocol %d on %v", k.DstPort(), k.Proto(), k.Dst())
		return nil, NoService
	}
	x.Service = s.Name
	if martian(k) {
		x.say("%v can't be a client's address", k.Src())
		return nil, Martian
	}
	switch {
	case x.packet.Kind == frame.Datagram && s.OnePacket:
		x.say("service %s schedules every packet by itself", s.Name)
		return x.pick(s, OnePacket)
	case x.packet.Kind == frame.Segment && x.packet.Flags&frame.SYN == 0:
		x.say("a segment in mid-connection: the connection was idle too long, found no room in the table, or began before this director")
		b, reason := x.remembered(s), Persisted
		if b == nil {
			if x.core.snap.learns(x.core.now) {
				x.say("this director has just taken over: the other one's word about it may still come")
				return nil, Unlearned
			}
			b, reason = x.stateless(s)
		}
		if b == nil || x.packet.Flags&(frame.RST|frame.FIN) != 0 {
			return b, reason
		}
		return x.enter(s, b, flow.SynRecv, reason)
	}
	b, reason := x.remembered(s), Persisted
	if b == nil {
		if b, reason = x.pick(s, Scheduled); b == nil {
			return nil, reason
		}
	}
	if x.packet.Kind == frame.Datagram {
		return x.enter(s, b, flow.UDPNew, reason)
	}
	return x.enter(s, b, flow.SynRecv, reason)
}

// remembered is Core.remembered, without removing what no longer holds.
func (x *explainer) remembered(s *Service) *Backend {
	if s.Persistence == 0 {
		return nil
	}
	k := x.core.templateKey(s, &x.packet.Key)
	e, ok := x.table.Lookup(&k, x.table.Hash(&k))
	if !ok {
		x.say("persistence remembers no server for clients of %v", k.Src())
		return nil
	}
	left := x.core.now.Until(x.table.Deadline(e))
	b := x.core.snap.Backend(e.Meta.Backend())
	why := ""
	switch {
	case b == nil:
		why = "a server that is no longer configured"
	case left <= 0:
		why = fmt.Sprintf("%s, but that expired %v ago", b.Name, span(-left))
	case !b.Accepting || !b.Resolved || b.Cut:
		why = b.Name + ", which takes no new connections: " + condition(b)
	default:
		x.say("persistence remembers %s for clients of %v, for %v more", b.Name, k.Src(), span(left))
		return b
	}
	x.say("persistence remembers %s", why)
	x.gone = append(x.gone, e)
	return nil
}

// pick asks the service's scheduler.
func (x *explainer) pick(s *Service, reason Reason) (*Backend, Reason) {
	f := flowOf(s, &x.packet.Key)
	x.say("scheduler %s of service %s: %s", schedulerName(s.Scheduler), s.Name, x.candidates(s))
	i := s.Scheduler.Peek(&f)
	if i == sched.None {
		x.say("it picks none")
		return nil, NoServer
	}
	b := s.Backends[i]
	x.say("it picks %s", b.Name)
	return resolved(b, reason)
}

// stateless asks the hash that needs no table.
func (x *explainer) stateless(s *Service) (*Backend, Reason) {
	f := flowOf(s, &x.packet.Key)
	i := s.Stateless.Peek(&f)
	if i == sched.None {
		x.say("the consistent hash (%s) picks none: %s", schedulerName(s.Stateless), x.candidates(s))
		return nil, NoServer
	}
	b := s.Hashed[i]
	x.say("the consistent hash (%s) of the client's address picks %s", schedulerName(s.Stateless), b.Name)
	return resolved(b, Fallback)
}

// enter is Core.enter, as far as room in the table decides.
func (x *explainer) enter(s *Service, b *Backend, state flow.State, reason Reason) (*Backend, Reason) {
	switch x.table.Room(x.table.Hash(&x.packet.Key), state, x.core.now, x.gone...) {
	case flow.Bounded:
		n, bound := x.table.HalfOpen()
		x.say("no room for it in the table: %d of at most %d unconfirmed connections", n, bound)
	case flow.Full:
		x.say("no room for it in the table: %d of at most %d entries", x.table.Len(), x.table.Cap())
	default:
		x.say("it would enter the table as %v", state)
		return b, reason
	}
	if reason == Persisted {
		return b, Persisted
	}
	return x.stateless(s)
}

// candidates describes all backends of a service.
func (x *explainer) candidates(s *Service) string {
	var list []string
	for _, b := range x.core.snap.Backends {
		if b != nil && b.Service == s {
			list = append(list, fmt.Sprintf("%s %s, active %d inactive %d", b.Name, condition(b), b.Load.Active(), b.Load.Inactive()))
		}
	}
	if list == nil {
		return "it has no server"
	}
	return strings.Join(list, "; ")
}

// condition says whether a backend takes new connections, or why not.
func condition(b *Backend) string {
	switch {
	case b.Cut:
		return "is cut off"
	case !b.Resolved:
		return "is not accepting: unresolved MAC"
	case !b.Accepting:
		return "is not accepting: down, drained or of weight 0"
	case b.Load.Overloaded():
		return "is at its connection threshold"
	}
	return "is accepting"
}

// schedulerName is the name of IPVS's that the scheduler's type bears.
func schedulerName(s sched.Scheduler) string {
	return strings.TrimPrefix(fmt.Sprintf("%T", s), "*sched.")
}

func span(ms int32) time.Duration {
	d := time.Duration(ms) * time.Millisecond
	if d < 10*time.Second {
		return d
	}
	return d.Truncate(time.Second)
}
