package flow

import (
	"math/bits"
	"sync/atomic"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// Insert puts a key in, with the state and backend of m. When all of the key's
// buckets are taken it first removes what has expired there. On Existed the Entry
// is the one that stood there first.
func (t *Table) Insert(k *frame.Key, h uint64, m Meta, deadline, now Tick, l Ledger) (Entry, Result) {
	if e, ok := t.Lookup(k, h); ok {
		return e, Existed
	}
	c := classOf[m.State()]
	if t.class[c].Add(1) > t.bound[c] {
		t.class[c].Add(-1)
		return Entry{}, Bounded
	}
	if t.used.Add(1) > t.cap {
		t.used.Add(-1)
		t.class[c].Add(-1)
		return Entry{}, Full
	}
	i, ok := t.reserve(h)
	if !ok && t.reclaim(h, now, l) {
		i, ok = t.reserve(h)
	}
	if !ok {
		t.used.Add(-1)
		t.class[c].Add(-1)
		return Entry{}, Full
	}
	s := &t.slots[i]
	// Free it explicitly: memory from a file may hold anything under an empty tag.
	free := Meta(atomic.LoadUint64(&s[wordMeta])).next()
	atomic.StoreUint64(&s[wordMeta], uint64(free))
	atomic.StoreUint64(&s[0], k.SrcHi)
	atomic.StoreUint64(&s[1], k.SrcLo)
	atomic.StoreUint64(&s[2], k.DstHi)
	atomic.StoreUint64(&s[3], k.DstLo)
	atomic.StoreUint64(&s[4], k.Tail)
	atomic.StoreUint64(&s[wordDeadline], uint64(deadline))
	// Meta comes last. Whoever read the directory long ago may see and remove the
	// entry from then on; a tag written after that would never be cleared.
	t.setTag(i, tagOf(h)&0xff)
	meta := free | m&(1<<48-1)
	l.Born(meta)
	atomic.StoreUint64(&s[wordMeta], uint64(meta))
	return t.settle(k, h, Entry{Slot: uint32(i), Meta: meta}, l)
}

// settle makes e the only copy of its key, or gives it up for one in a lower slot.
// Whoever inserts publishes before it settles, so of two that insert at once at
// least one sees both copies; whichever it is, the lowest stays.
func (t *Table) settle(k *frame.Key, h uint64, e Entry, l Ledger) (Entry, Result) {
	for _, b := range t.buckets(h) {
		for m := match(atomic.LoadUint64(&t.dir[b]), tagOf(h)); m != 0; m &= m - 1 {
			other, ok := t.at(k, b*bucketSlots+uint64(bits.TrailingZeros64(m))/8)
			switch {
			case !ok || other.Slot == e.Slot:
			case other.Slot < e.Slot:
				t.Remove(e, l)
				return other, Existed
			default:
				t.Remove(other, l)
			}
		}
	}
	return e, Inserted
}

// reserve takes a free slot in the emptier of the first two buckets, or the
// emptiest of all four when those two are nearly full.
func (t *Table) reserve(h uint64) (uint64, bool) {
	buckets := t.buckets(h)
	for {
		var best, word, free uint64
		for i, b := range buckets {
			if i == 2 && bits.OnesCount64(free) > 1 {
				break
			}
			w := atomic.LoadUint64(&t.dir[b])
			if f := freeBytes(w); i == 0 || bits.OnesCount64(f) > bits.OnesCount64(free) {
				best, word, free = b, w, f
			}
		}
		if free == 0 {
			return 0, false
		}
		at := uint64(bits.TrailingZeros64(free)) &^ 7
		if atomic.CompareAndSwapUint64(&t.dir[best], word, word|reserved<<at) {
			return best*bucketSlots + at/8, true
		}
	}
}

// freeBytes returns a word with the top bit set in every zero byte, exactly.
func freeBytes(w uint64) uint64 {
	const low = ^uint64(ones << 7)
	return ^((w&low + low) | w | low)
}

// reclaim removes expired entries from the buckets of a hash.
func (t *Table) reclaim(h uint64, now Tick, l Ledger) (any bool) {
	for _, b := range t.buckets(h) {
		if t.sweepBucket(b, now, l) > 0 {
			any = true
		}
	}
	return any
}
