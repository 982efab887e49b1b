package forwarder

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// A director that has just taken over drops a segment in mid-connection which it
// doesn't know: the other one's word about the connection may still come. New and
// known connections go on, and so does everything when the time is over.
func TestProcessLearning(t *testing.T) {
	for _, f := range families() {
		r := newRig(t, 1000, 50)
		establish(f, 1, 1)(r)
		known := r.one(f.tcp(1, 1, ack))
		learning := *r.snap
		learning.Learning, learning.LearnsUntil = true, r.now+100
		r.snap = &learning
		for _, flags := range []uint8{ack, ack | psh, fin | ack, frame.RST} {
			r.expect("unlearned", f.tcp(2, 1, flags))
		}
		// A closing connection: the other one may have seen a SYN under its key.
		r.snap.Learning = false
		establish(f, 4, 1)(r)
		closing := r.one(f.tcp(4, 1, fin|ack))
		r.expect(closing, f.tcp(4, 1, ack))
		r.snap.Learning = true
		for _, flags := range []uint8{ack, ack | psh, fin | ack} {
			r.expect("unlearned", f.tcp(4, 1, flags))
		}
		r.expect(closing, f.tcp(4, 1, frame.RST))
		r.expect(known, f.tcp(1, 1, ack))
		if got := r.one(f.tcp(3, 1, syn)); got == "unlearned" {
			t.Errorf("%s: a new connection is %s", f.name, got)
		}
		if r.table.Len() != 3 {
			t.Errorf("%s: %d entries", f.name, r.table.Len())
		}
		r.now += 100
		r.expect("fallback "+r.hashed(f.tcp(2, 1, ack)), f.tcp(2, 1, ack))
		r.balanced()
	}
}
