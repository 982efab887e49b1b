package flow

import (
	"sync/atomic"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// Feed tells one reader which slots of a table one worker changed. Neither waits:
// when the reader is too slow, changes are lost and counted, and the reader must
// look at the whole table.
type Feed struct {
	slots []uint32
	_     [64]byte
	put   atomic.Uint64 // by the worker
	_     [56]byte
	taken atomic.Uint64 // by the reader
	_     [56]byte
	lost  atomic.Uint64
}

// NewFeed makes a feed that holds size changes, rounded up to a power of two.
func NewFeed(size int) *Feed {
	n := 1
	for n < size {
		n <<= 1
	}
	return &Feed{slots: make([]uint32, n)}
}

// Put adds a slot. Only the worker calls it.
func (f *Feed) Put(slot uint32) {
	put := f.put.Load()
	if put-f.taken.Load() == uint64(len(f.slots)) {
		f.lost.Add(1)
		return
	}
	atomic.StoreUint32(&f.slots[put&uint64(len(f.slots)-1)], slot)
	f.put.Store(put + 1)
}

// Take moves up to len(dst) slots into dst and returns how many. Only the reader
// calls it.
func (f *Feed) Take(dst []uint32) int {
	taken := f.taken.Load()
	n := min(int(f.put.Load()-taken), len(dst))
	for i := range n {
		dst[i] = atomic.LoadUint32(&f.slots[(taken+uint64(i))&uint64(len(f.slots)-1)])
	}
	f.taken.Store(taken + uint64(n))
	return n
}

// Lost returns how many changes were not told; it never goes back.
func (f *Feed) Lost() uint64 { return f.lost.Load() }

// Read returns the entry in a slot, and false when none is there.
func (t *Table) Read(slot uint32) (frame.Key, Entry, Tick, bool) {
	s := &t.slots[slot]
	meta := Meta(atomic.LoadUint64(&s[wordMeta]))
	k := s.key()
	d := Tick(atomic.LoadUint64(&s[wordDeadline]))
	same := meta.version() == Meta(atomic.LoadUint64(&s[wordMeta])).version()
	return k, Entry{Slot: slot, Meta: meta}, d, same && meta.State() != Free
}
