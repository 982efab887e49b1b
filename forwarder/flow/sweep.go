package flow

import (
	"math/bits"
	"sync/atomic"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// Sweep walks n buckets from bucket on (round the end), removes entries whose
// deadline has passed. It returns the bucket to go on with.
func (t *Table) Sweep(bucket, n int, now Tick, l Ledger) int {
	b := uint64(bucket)
	for ; n > 0; n-- {
		if b >= t.n {
			b = 0
		}
		t.sweepBucket(b, now, l)
		b++
	}
	return int(b)
}

func (t *Table) sweepBucket(b uint64, now Tick, l Ledger) (removed int) {
	for m := taken(atomic.LoadUint64(&t.dir[b])); m != 0; m &= m - 1 {
		i := b*bucketSlots + uint64(bits.TrailingZeros64(m))/8
		s := &t.slots[i]
		meta := Meta(atomic.LoadUint64(&s[wordMeta]))
		if now.Before(Tick(atomic.LoadUint64(&s[wordDeadline]))) || meta.State() == Free {
			continue
		}
		if t.Remove(Entry{Slot: uint32(i), Meta: meta}, l) {
			removed++
		}
	}
	return removed
}

// taken returns a word with the top bit set in every byte that holds a tag.
func taken(w uint64) uint64 { return ^(freeBytes(w) | freeBytes(w^reserved*ones)) & (ones << 7) }

// Range calls visit for every entry until it returns false. Entries that come or
// go meanwhile may be missed; none is shown twice or half-written.
func (t *Table) Range(visit func(k *frame.Key, e Entry, deadline Tick) bool) {
	for b := range t.dir {
		for m := taken(atomic.LoadUint64(&t.dir[b])); m != 0; m &= m - 1 {
			i := b*bucketSlots + bits.TrailingZeros64(m)/8
			s := &t.slots[i]
			meta := Meta(atomic.LoadUint64(&s[wordMeta]))
			k := s.key()
			d := Tick(atomic.LoadUint64(&s[wordDeadline]))
			if meta.State() == Free || meta.version() != Meta(atomic.LoadUint64(&s[wordMeta])).version() {
				continue
			}
			if !visit(&k, Entry{Slot: uint32(i), Meta: meta}, d) {
				return
			}
		}
	}
}
