package flow

import (
	"slices"
	"sync/atomic"
)

// Room tells what Insert would answer now for a new entry in state s whose key has
// the hash h, if the entries in gone were removed before. It changes nothing, so
// the answer is a forecast when others use the table.
func (t *Table) Room(h uint64, s State, now Tick, gone ...Entry) Result {
	class, used := t.class[classOf[s]].Load(), t.used.Load()
	buckets := t.buckets(h)
	slot := false
	for _, e := range gone {
		used--
		if classOf[e.Meta.State()] == classOf[s] {
			class--
		}
		slot = slot || slices.Contains(buckets[:], uint64(e.Slot)/bucketSlots)
	}
	switch {
	case class >= t.bound[classOf[s]]:
		return Bounded
	case used >= t.cap:
		return Full
	case slot:
		return Inserted
	}
	for _, b := range buckets {
		if freeBytes(atomic.LoadUint64(&t.dir[b])) != 0 {
			return Inserted
		}
		for i := b * bucketSlots; i < (b+1)*bucketSlots; i++ { // what Insert would reclaim
			s := &t.slots[i]
			expired := !now.Before(Tick(atomic.LoadUint64(&s[wordDeadline])))
			if expired && Meta(atomic.LoadUint64(&s[wordMeta])).State() != Free {
				return Inserted
			}
		}
	}
	return Full
}
