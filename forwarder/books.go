package forwarder

import (
	"sync/atomic"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// books are one worker's plain counters. They are added to the shared ones a few
// times a second, so that counting costs the packets no atomic operation.
type books struct {
	reasons [NumReasons]uint64
	traffic []traffic // by backend index
	dirty   []*Backend
}

type traffic struct {
	packets, bytes, connections uint64
	dirty                       bool
}

// carry counts a packet of so many bytes (from the IP header on).
func (k *books) carry(b *Backend, bytes int) {
	t := k.of(b)
	t.packets++
	t.bytes += uint64(bytes)
}

// begin counts a connection.
func (k *books) begin(b *Backend) { k.of(b).connections++ }

func (k *books) of(b *Backend) *traffic {
	i := RefIndex(b.Ref)
	if i < len(k.traffic) {
		if t := &k.traffic[i]; t.dirty {
			return t
		}
	}
	return k.open(b, i)
}

// open starts a line for a backend; it grows only when the configuration does.
func (k *books) open(b *Backend, i int) *traffic {
	if i >= len(k.traffic) {
		k.traffic = append(k.traffic, make([]traffic, i+1-len(k.traffic))...)
	}
	t := &k.traffic[i]
	t.dirty = true
	k.dirty = append(k.dirty, b)
	return t
}

// Counters are one worker's verdicts, for readers.
type Counters [NumReasons]atomic.Uint64

// publish moves everything to the shared counters. It must run before another
// Snapshot is used, because an index may then mean another backend.
func (k *books) publish(to *Counters) {
	for _, b := range k.dirty {
		t := &k.traffic[RefIndex(b.Ref)]
		b.Stats.Packets.Add(t.packets)
		b.Stats.Bytes.Add(t.bytes)
		b.Stats.Connections.Add(t.connections)
		*t = traffic{}
	}
	clear(k.dirty)
	k.dirty = k.dirty[:0]
	for r, n := range k.reasons {
		if n != 0 {
			to[r].Add(n)
			k.reasons[r] = 0
		}
	}
}

// Books keep the counts that schedulers go by. They are a flow.Ledger but for the
// Snapshot that says what an entry's reference means.
type Books struct{}

// Born counts a new entry.
func (Books) Born(s *Snapshot, m flow.Meta) {
	if b := s.Backend(m.Backend()); b != nil {
		Count(b.Load, m.State(), 1)
	}
}

// Moved counts a change of state.
func (Books) Moved(s *Snapshot, from, to flow.Meta) {
	if from.State().Active() == to.State().Active() || !to.State().Counted() {
		return
	}
	if b := s.Backend(to.Backend()); b != nil {
		if to.State().Active() {
			b.Load.Add(1, -1)
		} else {
			b.Load.Add(-1, 1)
		}
	}
}

// Gone counts the end of an entry.
func (Books) Gone(s *Snapshot, m flow.Meta) {
	if b := s.Backend(m.Backend()); b != nil {
		Count(b.Load, m.State(), -1)
	}
}

// Born, Moved and Gone make Core the table's ledger.

// Born counts a new entry, and a connection that began here.
func (c *Core) Born(m flow.Meta) {
	Books{}.Born(c.snap, m)
	if b := c.snap.Backend(m.Backend()); b != nil && m.State().Counted() {
		c.books.begin(b)
	}
}

// Moved counts a change of state.
func (c *Core) Moved(from, to flow.Meta) { Books{}.Moved(c.snap, from, to) }

// Gone counts the end of an entry.
func (c *Core) Gone(m flow.Meta) { Books{}.Gone(c.snap, m) }

// tell lets whoever copies connections to the backup know of a new or changed one.
func (c *Core) tell(e flow.Entry) {
	if c.feed != nil {
		c.feed.Put(e.Slot)
	}
}

var _ flow.Ledger = (*Core)(nil)
