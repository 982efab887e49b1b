package flowsync

import (
	"github.com/svm-cluster/svm/forwarder/frame"
)

// recheckGap is how often names are compared with the configuration, in ms.
const recheckGap = 500

// nameless marks a reference that stands for no backend (any more).
const nameless = ^uint32(0)

// speaker numbers the backends of this director for one session.
type speaker struct {
	byRef map[uint32]uint32 // reference to number, or nameless
	names []spoken          // by number
	free  []uint32
}

type spoken struct {
	id           Identity
	dstHi, dstLo uint64
}

func (k *speaker) reset() {
	clear(k.byRef)
	k.names, k.free = k.names[:0], k.free[:0]
}

// number returns the number of a reference. If it is new, the peer must be told.
func (k *speaker) number(ref uint32, b Backends) (n uint32, fresh, ok bool) {
	if n, ok := k.byRef[ref]; ok {
		return n, false, n != nameless
	}
	id, ok := b.Identity(ref)
	if !ok || !id.valid() {
		k.byRef[ref] = nameless
		return 0, false, false
	}
	if last := len(k.free) - 1; last >= 0 {
		n, k.free = k.free[last], k.free[:last]
	} else if n = uint32(len(k.names)); n < maxNames {
		k.names = append(k.names, spoken{})
	} else {
		return 0, false, false
	}
	k.byRef[ref] = n
	id = id.plain()
	hi, lo := frame.Words(id.VIP)
	k.names[n] = spoken{id: id, dstHi: hi, dstLo: lo}
	return n, true, true
}

// recheck forgets references whose meaning has changed, and tells whether any has
// another one now, so that what was told under it must be told again.
func (k *speaker) recheck(b Backends) (changed bool) {
	for ref, n := range k.byRef {
		if n == nameless {
			delete(k.byRef, ref) // asked for again when it is met again
			continue
		}
		id, ok := b.Identity(ref)
		if ok && id.plain() == k.names[n].id {
			continue
		}
		delete(k.byRef, ref)
		k.free = append(k.free, n)
		changed = changed || ok
	}
	return changed
}

func (id Identity) valid() bool { return id.VIP.IsValid() && id.Server.IsValid() }

// plain makes identities comparable.
func (id Identity) plain() Identity {
	id.VIP, id.Server = id.VIP.Unmap().WithZone(""), id.Server.Unmap().WithZone("")
	return id
}

// listener keeps what the peer's numbers mean here.
type listener struct{ names []heard }

type heard struct {
	id           Identity
	dstHi, dstLo uint64
	ref          uint32
	defined      bool // the peer has used the number
	known        bool // ref is valid
	used         bool // a record had it
}

func (k *listener) reset() { k.names = k.names[:0] }

func (k *listener) define(n uint32, id Identity, b Backends) {
	for uint32(len(k.names)) <= n {
		k.names = append(k.names, heard{})
	}
	hi, lo := frame.Words(id.VIP)
	ref, known := b.Ref(id)
	k.names[n] = heard{id: id, dstHi: hi, dstLo: lo, ref: ref, known: known, defined: true}
}

// recheck looks names up again and tells whether records came under one that has
// another meaning now.
func (k *listener) recheck(b Backends) (changed bool) {
	for i := range k.names {
		h := &k.names[i]
		if !h.defined {
			continue
		}
		ref, known := b.Ref(h.id)
		if known && h.used && (!h.known || ref != h.ref) {
			changed = true
		}
		h.ref, h.known = ref, known
	}
	return changed
}

// unknown counts the backends that the peer has connections to and we don't know.
func (k *listener) unknown() (n int) {
	for i := range k.names {
		if h := &k.names[i]; h.defined && h.used && !h.known {
			n++
		}
	}
	return n
}
