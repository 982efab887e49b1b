package flow

import (
	"slices"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// repair makes a table that a killed process left consistent: slots that were
// being written or removed are freed, entries that don't stand where their key
// belongs and second copies too, and everything is counted afresh.
func (t *Table) repair() (entries int) {
	for b := range t.dir {
		for j := range uint64(bucketSlots) {
			tag := t.dir[b] >> (j * 8) & 0xff
			if tag == 0 {
				continue
			}
			i := uint64(b)*bucketSlots + j
			s := &t.slots[i]
			meta := Meta(s[wordMeta])
			k := s.key()
			h := t.Hash(&k)
			at := t.buckets(h)
			sound := tag != reserved && fits(meta.State(), &k) &&
				tag == tagOf(h)&0xff && slices.Contains(at[:], uint64(b))
			if sound {
				// Two processors may have been about to settle which copy stays.
				first, ok := t.Lookup(&k, h)
				sound = ok && uint64(first.Slot) == i
			}
			if !sound {
				s[wordMeta] = uint64(meta.next())
				t.setTag(i, 0)
				continue
			}
			t.used.Add(1)
			t.class[classOf[meta.State()]].Add(1)
			entries++
		}
	}
	return entries
}

// fits tells whether a key of that sort can be in that state; the packet core
// relies on it.
func fits(s State, k *frame.Key) bool {
	switch k.Kind() {
	case frame.KeyFlow:
		if k.Proto() == frame.ProtoUDP {
			return s == UDPNew || s == UDP
		}
		return k.Proto() == frame.ProtoTCP && s >= Established && s <= Close
	case frame.KeyTemplate:
		return s == TemplateNew || s == Template
	case frame.KeyFragment:
		return s == Fragment
	}
	return false
}
