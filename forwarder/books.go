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
	dirty   []int     // the lines in use
}

// traffic is a line of the books: the backend that has the index at present.
type traffic struct {
	packets, bytes, connections uint64
	backend                     *Backend // nil: not in use
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
		if t := &k.traffic[i]; t.backend == b {
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
	if t.backend == nil {
		k.dirty = append(k.dirty, i)
	} else {
		t.publish()
	}
	t.backend = b
	return t
}

// publish adds a line to its backend's counters and empties it.
func (t *traffic) publish() {
	t.backend.Stats.Packets.Add(t.packets)
	t.backend.Stats.Bytes.Add(t.bytes)
	t.backend.Stats.Connections.Add(t.connections)
	*t = traffic{}
}

// Counters are one worker's verdicts, for readers.
type Counters [NumReasons]atomic.Uint64

// publish moves everything to the shared counters.
func (k *books) publish(to *Counters) {
	for _, i := range k.dirty {
		k.traffic[i].publish()
	}
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

// Born, Moved and Gone make Core the table's ledger. Entries are counted by the
// newest Snapshot, not the batch's: whoever counts an entry's begin and whoever
// counts its end then agree on whether its backend is known, although workers come
// to a new Snapshot one after the other. (A reference is known from one Snapshot on
// and unknown for good from a later one on.)

// Born counts a new entry, and a connection that began here.
func (c *Core) Born(m flow.Meta) {
	Books{}.Born(c.latest(), m)
	if b := c.snap.Backend(m.Backend()); b != nil && m.State().Counted() {
		c.books.begin(b)
	}
}

// Moved counts a change of state.
func (c *Core) Moved(from, to flow.Meta) { Books{}.Moved(c.latest(), from, to) }

// Gone counts the end of an entry.
func (c *Core) Gone(m flow.Meta) { Books{}.Gone(c.latest(), m) }

func (c *Core) latest() *Snapshot {
	if c.newest == nil {
		return c.snap
	}
	return c.newest.Load()
}

// backend returns what a reference in the table means. Another worker may have a
// newer Snapshot already, and have stored one that the batch's doesn't know.
func (c *Core) backend(ref uint32) *Backend {
	b := c.snap.Backend(ref)
	if b == nil {
		b = c.latest().Backend(ref)
	}
	return b
}

// tell lets whoever copies connections to the backup know of a new or changed one.
func (c *Core) tell(e flow.Entry) {
	if c.feed != nil {
		c.feed.Put(e.Slot)
	}
}

var _ flow.Ledger = (*Core)(nil)
