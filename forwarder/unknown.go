package forwarder

import (
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/sched"
)

// unknown decides about a packet of no connection in the table.
func (c *Core) unknown(p *frame.Packet, h uint64) (*Backend, Reason) {
	vip := c.snap.VIPs[p.Key.Dst()]
	if vip == nil {
		return nil, NotVIP
	}
	switch p.Kind {
	case frame.Later:
		return nil, UnknownFragment
	case frame.Echo:
		if p.First {
			return nil, EchoFragment
		}
		if martian(&p.Key) {
			return nil, Martian
		}
		return nil, EchoReply
	}
	s := vip.Service(p.Key.Proto(), p.Key.DstPort())
	if s == nil {
		return nil, NoService
	}
	if martian(&p.Key) {
		return nil, Martian
	}
	if p.Kind == frame.Error {
		return c.stateless(s, p, Related)
	}
	state := flow.SynRecv
	if p.Kind == frame.Datagram {
		if s.OnePacket {
			return c.onePacket(s, p)
		}
		state = flow.UDPNew
	} else if p.Flags&frame.SYN == 0 {
		return c.pickUp(s, p, h)
	}
	b, reason := c.schedule(s, p)
	if b == nil {
		return nil, reason
	}
	return c.enter(s, b, p, h, state, reason)
}

// schedule picks the backend of a new connection: by persistence, else by the
// service's scheduler.
func (c *Core) schedule(s *Service, p *frame.Packet) (*Backend, Reason) {
	if b := c.remembered(s, p); b != nil {
		return b, Persisted
	}
	c.describe(s, p)
	i := s.Scheduler.Pick(&c.flow)
	if i == sched.None {
		return nil, NoServer
	}
	return resolved(s.Backends[i], Scheduled)
}

// pickUp decides about a segment in mid-connection that the table doesn't know:
// it was idle too long, the table was full, or this director came up after the
// connection. Persistence knows its server still, hashing schedulers find it
// again, the others' connections get the consistent hash's pick, as they did if
// the table was full.
func (c *Core) pickUp(s *Service, p *frame.Packet, h uint64) (*Backend, Reason) {
	b, reason := c.remembered(s, p), Persisted
	if b == nil {
		if c.snap.learns(c.now) {
			return nil, Unlearned
		}
		b, reason = c.stateless(s, p, Fallback)
	}
	if b == nil || p.Flags&(frame.RST|frame.FIN) != 0 {
		return b, reason // nothing worth remembering
	}
	return c.enter(s, b, p, h, flow.SynRecv, reason)
}

// enter puts a new connection into the table. Without room the consistent hash
// decides instead: it needs no memory to decide the same next time.
func (c *Core) enter(s *Service, b *Backend, p *frame.Packet, h uint64, state flow.State, reason Reason) (*Backend, Reason) {
	e, r := c.table.Insert(&p.Key, h, flow.MakeMeta(state, b.Ref), c.deadline(state), c.now, c)
	switch r {
	case flow.Existed: // another worker was faster
		if other := c.backend(e.Meta.Backend()); other != nil {
			return resolved(other, Known)
		}
		return resolved(b, reason)
	case flow.Full, flow.Bounded:
		if reason == Persisted {
			return b, Persisted
		}
		return c.stateless(s, p, Fallback)
	}
	c.tell(e)
	if s.Persistence != 0 && reason == Scheduled {
		c.makeTemplate(s, b, p)
	}
	return b, reason
}

func (c *Core) onePacket(s *Service, p *frame.Packet) (*Backend, Reason) {
	c.describe(s, p)
	i := s.Scheduler.Pick(&c.flow)
	if i == sched.None {
		return nil, NoServer
	}
	b, reason := resolved(s.Backends[i], OnePacket)
	if b != nil {
		c.books.begin(b)
	}
	return b, reason
}

// stateless picks without the table.
func (c *Core) stateless(s *Service, p *frame.Packet, r Reason) (*Backend, Reason) {
	c.describe(s, p)
	i := s.Stateless.Peek(&c.flow)
	if i == sched.None {
		return nil, NoServer
	}
	return resolved(s.Hashed[i], r)
}

// describe fills in what schedulers may know. A persistent service's connections
// go by the client's network alone, so that the hash keeps a client together too.
func (c *Core) describe(s *Service, p *frame.Packet) { c.flow = flowOf(s, &p.Key) }

func flowOf(s *Service, k *frame.Key) sched.Flow {
	f := sched.Flow{Dst: s.VIP, DstPort: k.DstPort()}
	if s.Persistence != 0 {
		f.Src = frame.Addr(k.SrcHi&s.MaskHi, k.SrcLo&s.MaskLo)
		return f
	}
	f.Src, f.SrcPort = k.Src(), k.SrcPort()
	return f
}

// martian tells whether the source can't be a client's: the VIP itself, a group,
// loopback or nobody (RFC 1812 section 5.3.7; RFC 4291 section 2).
func martian(k *frame.Key) bool {
	if k.SrcHi == k.DstHi && k.SrcLo == k.DstLo {
		return true
	}
	if k.Is4() {
		top := uint8(k.SrcLo >> 24)
		return top == 0 || top == 127 || top >= 224
	}
	return k.SrcHi>>56 == 0xff || k.SrcHi == 0 && k.SrcLo <= 1
}
