package flow

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// Guess fills in for each hash the slot where its key most probably stands, and
// fetches all their memory side by side, so that LookupAt finds it in the cache.
// slots is as long as hashes. The result means nothing, but must be used.
//
// No branch here depends on the table's contents but for the few keys of which the
// directory names no slot or several: one that is predicted wrongly would cost as
// much as the memory.
func (t *Table) Guess(hashes []uint64, slots []uint32) (sink uint64) {
	for len(hashes) > guesses {
		sink += t.guess(hashes[:guesses], slots)
		hashes, slots = hashes[guesses:], slots[guesses:]
	}
	return sink + t.guess(hashes, slots)
}

const guesses = 64 // at a time

func (t *Table) guess(hashes []uint64, slots []uint32) (sink uint64) {
	// Without bounds checks: a bucket is below n by the way it is computed.
	dir, n := unsafe.Pointer(unsafe.SliceData(t.dir)), t.n
	slots = slots[:len(hashes)]
	// Loops as short as this first one and the last ones keep dozens of reads under
	// way at once, the longer one between them only a few: it must find its memory
	// in the cache.
	for _, h := range hashes {
		sink += atomic.LoadUint64((*uint64)(unsafe.Add(dir, bucketOf(h, n)*8)))
	}
	// A second look is for those with no match or several, one in twenty: else half
	// of them would have to fetch their line alone, later.
	var hard [guesses]uint8
	hards := uint64(0)
	for i, h := range hashes {
		b, d := bucketOf(h, n), beside(h)
		m := pair(dir, b, d, tagOf(h))
		slots[i] = place(b, d, m)
		hard[hards%guesses] = uint8(i)
		_, single := bits.Sub64(m-1, m^(m-1), 0) // the borrow: 1 if m has one bit
		hards += 1 - single
	}
	var others [guesses]uint32
	more := 0
	for _, i := range hard[:hards] {
		h := hashes[i%guesses]
		tag := tagOf(h)
		b, d := bucketOf(h, n), beside(h)
		m := pair(dir, b, d, tag)
		if m == 0 { // new, or in one of the other two buckets
			b = second(h, n)
			slots[i] = place(b, d, pair(dir, b, d, tag))
			continue
		}
		others[more%guesses] = place(b, d, m&(m-1))
		more++
	}
	base := unsafe.Pointer(unsafe.SliceData(t.slots))
	for _, slot := range slots {
		sink += atomic.LoadUint64((*uint64)(unsafe.Add(base, uintptr(slot)*slotBytes+wordMeta*8)))
	}
	for _, slot := range others[:more] {
		sink += atomic.LoadUint64((*uint64)(unsafe.Add(base, uintptr(slot)*slotBytes+wordMeta*8)))
	}
	return sink
}

// pair matches a tag in a bucket and the one beside it: bit 8*slot stands for the
// first one's slots, the bit above it for the other's.
func pair(dir unsafe.Pointer, b, d, tag uint64) uint64 {
	x := atomic.LoadUint64((*uint64)(unsafe.Add(dir, b*8))) ^ tag
	y := atomic.LoadUint64((*uint64)(unsafe.Add(dir, (b^d)*8))) ^ tag
	return (x-ones)&^x>>7&ones | (y-ones)&^y>>6&(ones<<1)
}

// place returns the slot that the lowest bit of a pair's matches stands for, some
// slot of the first bucket if there is none.
func place(b, d, m uint64) uint32 {
	z := uint64(bits.TrailingZeros64(m))
	return uint32((b^d&-(z&1))*bucketSlots + z>>3&(bucketSlots-1))
}

// LookupAt is Lookup for a key whose slot Guess has guessed.
func (t *Table) LookupAt(k *frame.Key, h uint64, slot uint32) (Entry, bool) {
	s := &t.slots[slot]
	meta := Meta(atomic.LoadUint64(&s[wordMeta]))
	if s.holds(k) && meta.State() != Free && meta.version() == Meta(atomic.LoadUint64(&s[wordMeta])).version() {
		return Entry{Slot: slot, Meta: meta}, true
	}
	return t.Lookup(k, h)
}

// Seen is what Peek saw in a slot.
type Seen struct {
	Meta     Meta // 0 if another key's
	Deadline Tick
}

// Peek looks for each packet whether its key stands where Guess has guessed: the
// packets of which nothing changes anything need no more of a look-up. What it saw
// counts only if Still tells so at the time of use. slots and seen are as long as
// packets.
func (t *Table) Peek(packets []frame.Packet, slots []uint32, seen []Seen) {
	base := unsafe.Pointer(unsafe.SliceData(t.slots))
	slots, seen = slots[:len(packets)], seen[:len(packets)]
	for i := range packets {
		k := &packets[i].Key
		s := (*slot)(unsafe.Add(base, uintptr(slots[i])*slotBytes)) // Guess's slots are in the table
		meta := Meta(atomic.LoadUint64(&s[wordMeta]))
		d := Tick(atomic.LoadUint64(&s[wordDeadline]))
		if !s.holds(k) {
			meta = 0
		}
		seen[i] = Seen{meta, d}
	}
}

// Still tells whether a slot has the Meta that was seen there, and with it the key.
func (t *Table) Still(slot uint32, m Meta) bool {
	return Meta(atomic.LoadUint64(&t.slots[slot][wordMeta])) == m
}
