// Package flow is the connection table: one bounded, lock-free cache of flows,
// shared by all workers and readers.
//
// Shape. A bucket is eight slots of 64 bytes and one directory word that holds a
// byte per slot: 0 free, 1 being written, else a tag of the key's hash. Eight
// directory words are a line of memory. A key may stand in one of two buckets
// within one such line, and a new one goes to the emptier; only when both are
// nearly full two more, in another line, are considered (for less than one key in
// a hundred of a full table). The directory (1.4 MB for a million connections)
// stays in the processor's cache, so a look-up costs one line of memory: that of
// the entry itself.
//
// Concurrency. A slot belongs to whoever turned its directory byte from 0 to 1;
// the owner writes the key, then the tag, then Meta, which makes the entry live.
// It dies by a compare-and-swap of its Meta to state Free, so exactly one party
// counts its end. Readers check Meta before and after they read the key. Two
// workers that insert the same key at once end up with one: after publishing its
// own copy each looks for others, and the lowest slot stays. Nothing ever waits.
package flow

import (
	"math/bits"
	"sync/atomic"

	"github.com/svm-cluster/svm/forwarder/frame"
)

const (
	bucketSlots = 8
	slotBytes   = 64
	reserved    = 1 // directory byte of a slot that is being written
)

// slot is one entry: five words of key, Meta, the deadline, one spare word.
type slot [8]uint64

const (
	wordMeta     = 5
	wordDeadline = 6
)

// Table is the connection table. Every method is safe for concurrent use, but
// Close.
type Table struct {
	dir   []uint64
	slots []slot
	n     uint64 // buckets
	seed  frame.Seed
	cap   int64
	bound [numClasses]int64

	_     [64]byte
	used  atomic.Int64
	class [numClasses]atomic.Int64
	_     [64]byte

	mem *memory
}

// Entry is a connection that was found: a handle, not a copy of its key.
type Entry struct {
	Slot uint32
	Meta Meta
}

// Ledger is told of every entry that begins, changes or ends, once each, by the
// goroutine that made it so. A Born may be followed by its Gone within one Insert.
type Ledger interface {
	Born(m Meta)
	Moved(from, to Meta)
	Gone(m Meta)
}

// Result says what Insert did.
type Result uint8

const (
	Inserted Result = iota
	Existed         // somebody else has put the key in; the Entry is theirs
	Full            // no room
	Bounded         // the state's class has its share already
)

// Hash returns the key's hash for the other methods.
func (t *Table) Hash(k *frame.Key) uint64 { return k.Hash(&t.seed) }

// Hashes is Hash for a batch; to is as long as packets.
func (t *Table) Hashes(packets []frame.Packet, to []uint64) { frame.Hashes(packets, &t.seed, to) }

// Len returns the number of entries, templates and fragments included.
func (t *Table) Len() int { return int(t.used.Load()) }

// Cap returns the largest Len.
func (t *Table) Cap() int { return int(t.cap) }

// HalfOpen returns the number of unconfirmed entries and their bound.
func (t *Table) HalfOpen() (n, bound int) {
	return int(t.class[classHalfOpen].Load()), int(t.bound[classHalfOpen])
}

// Buckets returns how many buckets Sweep walks through.
func (t *Table) Buckets() int { return int(t.n) }

// buckets returns the four places where a key may stand, in the order of look-up.
// The directory words of the first two share a cache line, as do those of the
// last two.
func (t *Table) buckets(h uint64) [4]uint64 {
	b, c := bucketOf(h, t.n), second(h, t.n)
	d := beside(h)
	return [4]uint64{b, b ^ d, c, c ^ d}
}

func bucketOf(h, n uint64) uint64 {
	b, _ := bits.Mul64(h, n)
	return b
}

// second returns the third of the four places.
func second(h, n uint64) uint64 { return bucketOf(bits.RotateLeft64(h, 32)*0x9e3779b97f4a7c15, n) }

// beside returns 1, 3, 5 or 7: how far apart in a line of the directory two words
// stand.
func beside(h uint64) uint64 { return h>>16&6 | 1 }

const ones = 0x0101010101010101

// tagOf makes the hash's low byte 2 to 255, repeated in every byte.
func tagOf(h uint64) uint64 {
	tag := h & 0xff
	if tag < 2 { // a conditional move
		tag += 2
	}
	return tag * ones
}

// match returns a word with the top bit set in every byte of dir that equals the
// tag. A byte right above a match may be set by mistake; the key decides.
func match(dir, tag uint64) uint64 {
	x := dir ^ tag
	return (x - ones) &^ x & (ones << 7)
}

// Lookup finds a key. h is its Hash.
func (t *Table) Lookup(k *frame.Key, h uint64) (Entry, bool) {
	for _, b := range t.buckets(h) {
		if e, ok := t.find(k, h, b); ok {
			return e, true
		}
	}
	return Entry{}, false
}

func (t *Table) find(k *frame.Key, h, b uint64) (Entry, bool) {
	m := match(atomic.LoadUint64(&t.dir[b]), tagOf(h))
	for ; m != 0; m &= m - 1 {
		if e, ok := t.at(k, b*bucketSlots+uint64(bits.TrailingZeros64(m))/8); ok {
			return e, true
		}
	}
	return Entry{}, false
}

// at returns the entry in slot i if it is k's.
func (t *Table) at(k *frame.Key, i uint64) (Entry, bool) {
	s := &t.slots[i]
	meta := Meta(atomic.LoadUint64(&s[wordMeta]))
	ok := s.holds(k) && meta.State() != Free && meta.version() == Meta(atomic.LoadUint64(&s[wordMeta])).version()
	return Entry{Slot: uint32(i), Meta: meta}, ok
}

func (s *slot) holds(k *frame.Key) bool {
	return atomic.LoadUint64(&s[1]) == k.SrcLo && atomic.LoadUint64(&s[4]) == k.Tail &&
		atomic.LoadUint64(&s[3]) == k.DstLo && atomic.LoadUint64(&s[0]) == k.SrcHi &&
		atomic.LoadUint64(&s[2]) == k.DstHi
}

func (s *slot) key() frame.Key {
	return frame.Key{
		SrcHi: atomic.LoadUint64(&s[0]), SrcLo: atomic.LoadUint64(&s[1]),
		DstHi: atomic.LoadUint64(&s[2]), DstLo: atomic.LoadUint64(&s[3]),
		Tail: atomic.LoadUint64(&s[4]),
	}
}

// Deadline returns when an entry ends if nothing more is heard of it.
func (t *Table) Deadline(e Entry) Tick {
	return Tick(atomic.LoadUint64(&t.slots[e.Slot][wordDeadline]))
}

// Extend sets an entry's deadline. On a slot that has just changed its owner it
// does no harm beyond a wrong deadline.
func (t *Table) Extend(e Entry, d Tick) {
	atomic.StoreUint64(&t.slots[e.Slot][wordDeadline], uint64(d))
}

// Update changes an entry's Meta from e.Meta to m, which is e.Meta.With something.
// It fails when somebody else changed or removed the entry first.
func (t *Table) Update(e *Entry, m Meta, l Ledger) bool {
	if !atomic.CompareAndSwapUint64(&t.slots[e.Slot][wordMeta], uint64(e.Meta), uint64(m)) {
		return false
	}
	if was, is := classOf[e.Meta.State()], classOf[m.State()]; was != is {
		t.class[was].Add(-1)
		t.class[is].Add(1)
	}
	l.Moved(e.Meta, m)
	e.Meta = m
	return true
}

// Remove ends an entry. Of several that try, one gets true.
func (t *Table) Remove(e Entry, l Ledger) bool {
	s := &t.slots[e.Slot]
	if !atomic.CompareAndSwapUint64(&s[wordMeta], uint64(e.Meta), uint64(e.Meta.next())) {
		return false
	}
	t.setTag(uint64(e.Slot), 0)
	t.used.Add(-1)
	t.class[classOf[e.Meta.State()]].Add(-1)
	l.Gone(e.Meta)
	return true
}

// setTag writes one byte of a directory word.
func (t *Table) setTag(i, tag uint64) {
	w := &t.dir[i/bucketSlots]
	shift := i % bucketSlots * 8
	for {
		old := atomic.LoadUint64(w)
		if atomic.CompareAndSwapUint64(w, old, old&^(0xff<<shift)|tag<<shift) {
			return
		}
	}
}
