// Package forwarder is the packet core of a director: it receives, decides,
// rewrites and sends. It reads one immutable Snapshot and knows neither where
// that comes from nor which packet backend carries the frames.
package forwarder

import (
	"sync/atomic"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/sched"
)

// Core decides about batches of frames. One worker uses it; the table is shared.
type Core struct {
	table  *flow.Table
	feed   *flow.Feed                // of what changes in it; may be nil
	newest *atomic.Pointer[Snapshot] // nil: the batch's is
	snap   *Snapshot                 // of the current batch
	now    flow.Tick                 // of the current batch
	flow   sched.Flow
	books  books
	sink   uint64

	packets [pktio.BatchSize]frame.Packet
	hashes  [pktio.BatchSize]uint64
	slots   [pktio.BatchSize]uint32 // where the table probably has them
	seen    [pktio.BatchSize]flow.Seen
	reasons [pktio.BatchSize]Reason
}

// NewCore makes a core on a table.
func NewCore(table *flow.Table) *Core { return &Core{table: table} }

// Process decides about every frame of rx, changes those that go on in place, and
// adds them to servers or, for replies of the director itself, to clients. Both
// are emptied first. It is a function of its arguments and the table alone,
// allocates nothing, and no frame can make it panic.
func (c *Core) Process(rx, servers, clients *pktio.Batch, s *Snapshot, now flow.Tick) {
	c.snap, c.now = s, now
	servers.N, clients.N = 0, 0
	// Passes, so that the table's lines are fetched side by side: first those of its
	// directory, then those of the entries. Each is a short loop that calls as little
	// as it can.
	for i := range rx.N {
		f := &rx.Frames[i]
		fault := frame.Parse(f.Eth(), &c.packets[i])
		if f.Tagged && f.TCI&0xfff != 0 {
			fault = frame.FaultVLAN
		}
		c.reasons[i] = Reason(fault)
	}
	n := rx.N
	// Of a frame with a fault this is the hash of anything, and does no harm.
	c.table.Hashes(c.packets[:n], c.hashes[:n])
	c.sink += c.table.Guess(c.hashes[:n], c.slots[:n])
	c.table.Peek(c.packets[:n], c.slots[:n], c.seen[:n]) // unchanged asks Still, packet by packet
	c.finish(rx, servers, clients)
}

// finish decides and rewrites. Frames that follow one another to the servers, as
// nearly all do, move there together.
func (c *Core) finish(rx, servers, clients *pktio.Batch) {
	moved := 0
	for i := c.unchanged(rx, 0); i < rx.N; i = c.unchanged(rx, i+1) {
		f := &rx.Frames[i]
		p := &c.packets[i]
		reason := c.reasons[i]
		if reason == Reason(frame.OK) {
			var b *Backend
			b, reason = c.decide(p, c.hashes[i], c.slots[i])
			c.reasons[i] = reason
			if reason.Verdict() == Forward {
				frame.Rewrite(f.Eth(), &b.Addresses)
				c.books.carry(b, p.Bytes())
				c.books.reasons[reason]++
				continue
			}
		}
		c.books.reasons[reason]++
		servers.N += copy(servers.Frames[servers.N:], rx.Frames[moved:i])
		moved = i + 1
		if reason.Verdict() == Reply {
			frame.EchoReply(f.Eth(), p, c.snap.ClientMAC)
			clear(f.Buf[:pktio.HeaderLen]) // the checksum is complete now
			clients.Add(f)
		}
	}
	servers.N += copy(servers.Frames[servers.N:], rx.Frames[moved:rx.N])
}

// unchanged does with the segments from i on what decide would do with them, as
// long as nothing changes anything of their connections, as hardly any does. It
// returns the first one that is left to decide, rx.N if none is. It calls nothing,
// so that the loop's values stay in registers.
func (c *Core) unchanged(rx *pktio.Batch, i int) int {
	if !c.snap.Active {
		return i
	}
	t := &c.snap.Timeouts
	idle := t.idle[flow.Established]
	slack := t.lease[flow.Established] - idle
	backends, traffic := c.snap.Backends, c.books.traffic
	now, begin := c.now, i
	for ; i < rx.N; i++ {
		p, seen := &c.packets[i], &c.seen[i]
		if c.reasons[i] != Reason(frame.OK) || p.Kind != frame.Segment || p.First || p.Flags&(frame.SYN|frame.FIN|frame.RST) != 0 {
			break
		}
		m := seen.Meta
		if m.State() != flow.Established || uint32(now.Until(seen.Deadline))-idle > slack || !c.table.Still(c.slots[i], m) {
			break
		}
		at := RefIndex(m.Backend())
		if at >= len(backends) || at >= len(traffic) {
			break
		}
		b, line := backends[at], &traffic[at]
		if b == nil || b.Ref != m.Backend() || b.Cut || !b.Resolved || line.backend != b {
			break
		}
		frame.Rewrite(rx.Frames[i].Eth(), &b.Addresses)
		line.packets++
		line.bytes += uint64(p.Bytes())
		c.reasons[i] = Known
	}
	c.books.reasons[Known] += uint64(i - begin)
	return i
}

// decide finds the backend of a packet. The backend is nil unless the packet is
// forwarded.
func (c *Core) decide(p *frame.Packet, h uint64, slot uint32) (*Backend, Reason) {
	if !c.snap.Active {
		return nil, Standby
	}
	b, reason := (*Backend)(nil), Reason(0)
	if e, ok := c.table.LookupAt(&p.Key, h, slot); ok {
		b, reason = c.known(p, e)
	}
	if reason == 0 {
		b, reason = c.unknown(p, h)
	}
	// However the first fragment's backend was found, the others must follow it.
	if p.First && b != nil && p.Kind != frame.Error {
		c.keepFragment(p, b)
	}
	return b, reason
}

// known decides about a packet whose key is in the table. Reason 0: the entry no
// longer holds and is gone; treat the packet as one of no connection.
func (c *Core) known(p *frame.Packet, e flow.Entry) (*Backend, Reason) {
	b := c.backend(e.Meta.Backend())
	state := e.Meta.State()
	next := state
	switch p.Kind {
	case frame.Segment:
		next = flow.NextTCP(state, p.Flags)
	case frame.Datagram:
		next = flow.UDP
	}
	left := c.now.Until(c.table.Deadline(e))
	if b == nil || b.Cut || left <= 0 || c.afresh(p, b, state) {
		c.table.Remove(e, c)
		return nil, 0
	}
	if p.Kind == frame.Error {
		return resolved(b, Related)
	}
	if c.doubtful(p, state) {
		return nil, Unlearned
	}
	if next != state {
		if c.table.Update(&e, e.Meta.With(next), c) && next.Confirmed() && b.Service.Persistence != 0 {
			c.keepTemplate(p, b)
		}
		c.table.Extend(e, c.deadline(next))
		c.tell(e)
	} else if t := &c.snap.Timeouts; left < int32(t.idle[state]) || left > int32(t.lease[state]) {
		c.table.Extend(e, c.deadline(state))
		if b.Service.Persistence != 0 && state.Confirmed() {
			c.keepTemplate(p, b)
		}
	}
	if p.Kind == frame.Later {
		return resolved(b, Followed)
	}
	return resolved(b, Known)
}

// afresh tells whether a packet begins a new connection under an old key: a SYN
// on a closing one, or on one whose server never got to answer and can't now.
func (c *Core) afresh(p *frame.Packet, b *Backend, s flow.State) bool {
	if p.Kind != frame.Segment || p.Flags&(frame.SYN|frame.RST) != frame.SYN {
		return false
	}
	return s.Closing() || s == flow.SynRecv && !(b.Accepting && b.Resolved)
}

// doubtful tells whether, while the role moves, the other director may have seen
// the SYN of a new connection under the key of this closing one.
func (c *Core) doubtful(p *frame.Packet, s flow.State) bool {
	return s.Closing() && p.Kind == frame.Segment && p.Flags&(frame.SYN|frame.RST) == 0 && c.snap.learns(c.now)
}

func resolved(b *Backend, r Reason) (*Backend, Reason) {
	if !b.Resolved {
		return nil, NoNeighbour
	}
	return b, r
}

func (c *Core) deadline(s flow.State) flow.Tick {
	return c.now + flow.Tick(c.snap.Timeouts.lease[s])
}

// keepFragment remembers where the fragments of p's packet go.
func (c *Core) keepFragment(p *frame.Packet, b *Backend) {
	k := p.FragmentKey()
	m := flow.MakeMeta(flow.Fragment, b.Ref)
	e, r := c.table.Insert(&k, c.table.Hash(&k), m, c.deadline(flow.Fragment), c.now, c)
	if r != flow.Existed {
		return
	}
	if e.Meta.Backend() != b.Ref { // the identification came round to another connection
		c.table.Remove(e, c)
		c.table.Insert(&k, c.table.Hash(&k), m, c.deadline(flow.Fragment), c.now, c)
		return
	}
	c.table.Extend(e, c.deadline(flow.Fragment))
}

// Reasons returns the reason of each frame of the last batch, in order. Valid
// until the next Process.
func (c *Core) Reasons(rx *pktio.Batch) []Reason { return c.reasons[:rx.N] }
