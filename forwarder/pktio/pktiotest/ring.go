package pktiotest

import (
	"bytes"
	"testing"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

func testReuse(t *testing.T, r *rig) {
	// Several times around the ring, in batches that do not divide it.
	const step = 37
	for i := 0; i < 5*r.Slots; i += step {
		var frames [][]byte
		for j := range step {
			frames = append(frames, r.frame(60+(i+j)%1400, uint64(i+j)))
		}
		r.send(t, frames...)
		for j := 0; j < step; {
			for _, f := range r.recv(t) {
				if !bytes.Equal(f.Eth(), frames[j][pktio.HeaderLen:]) {
					t.Fatalf("frame %d: got number %d", i+j, number(&f))
				}
				j++
			}
			r.Receiver.Release(&r.rx)
		}
	}
	if st := r.Receiver.Stats(); st.Dropped+st.Truncated != 0 {
		t.Errorf("%+v", st)
	}
}

func testLease(t *testing.T, r *rig) {
	r.send(t, r.frame(60, 0), r.frame(60, 1), r.frame(60, 2))
	held := r.recv(t)
	// Far more than there is room for must not touch what is lent out.
	for i := range 2 * r.Slots {
		r.send(t, r.frame(60, uint64(100+i)))
	}
	r.settle(t)
	for i := range held {
		if number(&held[i]) != uint64(i) {
			t.Errorf("lent frame %d became %d", i, number(&held[i]))
		}
	}
	r.Receiver.Release(&r.rx)
	r.rest(t)
	r.send(t, r.frame(60, 7))
	if got := r.recv(t); number(&got[0]) != 7 {
		t.Errorf("after the overflow came %d", number(&got[0]))
	}
	r.Receiver.Release(&r.rx)
}

func testOverflow(t *testing.T, r *rig) {
	sent := 0
	for round := range 3 {
		first := sent
		for range 2 * r.Slots {
			r.send(t, r.frame(60, uint64(sent)))
			sent++
		}
		r.settle(t)
		got := r.rest(t)
		if len(got) < r.Slots/2 || len(got) > r.Slots {
			t.Errorf("round %d: %d frames out of a ring of %d", round, len(got), r.Slots)
		}
		for i, n := range got {
			// What is lost is the newest; the older ones are an unbroken run.
			if n != uint64(first+i) {
				t.Fatalf("round %d: frame %d where %d belongs", round, n, first+i)
			}
		}
		st := r.Receiver.Stats()
		if st.Packets+st.Dropped != uint64(sent) {
			t.Errorf("round %d: sent %d, but %+v", round, sent, st)
		}
		if st.Dropped == 0 {
			t.Errorf("round %d: nothing was lost", round)
		}
	}
	if st := r.Sender.Stats(); st.Packets != uint64(sent) {
		t.Errorf("sent %d, but %+v", sent, st)
	}
}

func testTruncation(t *testing.T, r *rig) {
	const total = 200
	for i := range total {
		r.send(t, r.superFrame(60000, uint64(i)))
	}
	// A short frame behind them finds its way in spite of all that is missing.
	got := r.rest(t)
	r.send(t, r.frame(60, total))
	got = append(got, r.rest(t)...)
	if len(got) == 0 || got[len(got)-1] != total {
		t.Fatalf("the last frame did not come: %v", got)
	}
	for i := 1; i < len(got); i++ {
		if got[i] <= got[i-1] {
			t.Fatalf("out of order: %v", got)
		}
	}
	st := r.Receiver.Stats()
	if st.Truncated == 0 {
		t.Errorf("nothing was truncated: %+v", st)
	}
	if st.Packets+st.Truncated+st.Dropped != total+1 || st.Packets != uint64(len(got)) || st.Long != uint64(len(got)-1) {
		t.Errorf("%d of %d came, but %+v", len(got), total+1, st)
	}
	// And when there is room again super-frames come again.
	r.send(t, r.superFrame(60000, total+1))
	if f := r.recv(t); number(&f[0]) != total+1 || len(f[0].Eth()) != 60000 {
		t.Errorf("then came number %d of %d bytes", number(&f[0]), len(f[0].Eth()))
	}
	r.Receiver.Release(&r.rx)
}

func testTooLong(t *testing.T, r *rig) {
	if r.MTU == 0 {
		t.Skip("this backend has no MTU")
	}
	r.send(t, r.frame(60, 1), r.frame(14+r.MTU+100, 2), r.frame(14+r.MTU, 3), r.frame(14+r.MTU+100, 4), r.frame(60, 5))
	var got []uint64
	for len(got) < 3 {
		for _, f := range r.recv(t) {
			got = append(got, number(&f))
		}
		r.Receiver.Release(&r.rx)
	}
	if got = append(got, r.rest(t)...); len(got) != 3 || got[0] != 1 || got[1] != 3 || got[2] != 5 {
		t.Errorf("came %v, want 1, 3 and 5", got)
	}
	if st := r.Sender.Stats(); st.TooLong != 2 || st.Packets != 3 || st.Busy+st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}
