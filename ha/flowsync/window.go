package flowsync

import (
	"encoding/binary"
	"math/bits"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// window is how many datagrams may be under way, and how many the receiver keeps
// that came before one that is missing.
const window = 1024

// A datagram is sent again when one after it has arrived and gapWait has passed,
// or when nothing is heard of it for firstWait; both are doubled each time, up to
// firstWait and lastWait. In milliseconds.
const (
	gapWait   = 3
	firstWait = 20
	lastWait  = 160
)

// outbox keeps what was sent until it is confirmed.
type outbox struct {
	base, next uint64 // the oldest that is not confirmed; the next to send
	parcels    [window]parcel
}

type parcel struct {
	buf   []byte // sealed
	sent  flow.Tick
	born  flow.Tick // when the oldest change in it can have happened
	live  bool      // it has changes, and not only a part of a pass
	done  bool
	tries uint8
}

func (o *outbox) reset() { o.base, o.next = 1, 1 }

func (o *outbox) flying() int { return int(o.next - o.base) }

func (o *outbox) at(number uint64) *parcel { return &o.parcels[number%window] }

// add takes the next number; there must be room.
func (o *outbox) add() (*parcel, uint64) {
	n := o.next
	o.next++
	p := o.at(n)
	*p = parcel{buf: p.buf}
	if p.buf == nil {
		p.buf = make([]byte, 0, maxDatagram)
	}
	return p, n
}

// confirm takes a receiver's word: all below next has arrived, and of those after
// it what the bits say. visit sees each parcel once. It returns the number after
// the last that has arrived, and false on a word that can't be true.
func (o *outbox) confirm(next uint64, bitmap []byte, visit func(*parcel)) (end uint64, ok bool) {
	if next > o.next {
		return 0, false
	}
	for o.base < next {
		if p := o.at(o.base); !p.done {
			p.done = true
			visit(p)
		}
		o.base++
	}
	end = o.base
	for i := 0; i < len(bitmap); i += 8 {
		for w := binary.BigEndian.Uint64(bitmap[i:]); w != 0; w &= w - 1 {
			n := next + uint64(i*8+bits.TrailingZeros64(w))
			if n >= o.next {
				return 0, false
			}
			if n < o.base {
				continue
			}
			if p := o.at(n); !p.done {
				p.done = true
				visit(p)
			}
			end = max(end, n+1)
		}
	}
	return end, true
}

// inbox puts what arrives in order.
type inbox struct {
	next, high uint64 // the next to apply; the number after the highest seen
	have       [window]bool
	held       [window][]byte
}

func (in *inbox) reset() {
	in.next, in.high = 1, 1
	clear(in.have[:])
}

// judge tells by its number whether a datagram is worth decrypting.
func (in *inbox) judge(number uint64) Reason {
	switch {
	case number < in.next:
		return Replayed
	case number-in.next >= window:
		return Beyond
	case in.have[number%window]:
		return Replayed
	}
	return Accepted
}

// hold keeps a payload that came too early.
func (in *inbox) hold(number uint64, payload []byte) {
	i := number % window
	in.have[i] = true
	in.held[i] = append(in.held[i][:0], payload...)
	in.high = max(in.high, number+1)
}

// pass notes that the next datagram is being applied.
func (in *inbox) pass() {
	in.next++
	in.high = max(in.high, in.next)
}

// early returns the next payload if it was held, and lets go of it.
func (in *inbox) early() ([]byte, bool) {
	i := in.next % window
	if !in.have[i] {
		return nil, false
	}
	in.have[i] = false
	return in.held[i], true
}

// bitmap appends what has arrived after next, in words of 64.
func (in *inbox) bitmap(b []byte) []byte {
	for from := in.next; from < in.high; from += 64 {
		w := uint64(0)
		for i := range uint64(64) {
			if from+i < in.high && in.have[(from+i)%window] {
				w |= 1 << i
			}
		}
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b
}
