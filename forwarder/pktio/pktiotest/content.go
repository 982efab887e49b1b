package pktiotest

import (
	"bytes"
	"testing"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

func testContent(t *testing.T, r *rig) {
	sizes := []int{60, 61, 64, 590, 1000, 1513, 1514}
	var want [][]byte
	for i := range 400 {
		want = append(want, r.frame(sizes[i%len(sizes)], uint64(i)))
	}
	r.send(t, want...)
	for i := 0; i < len(want); {
		for _, f := range r.recv(t) {
			// The virtio header is at the front, whatever it says; Eth is behind it.
			if len(f.Buf) != len(want[i]) || cap(f.Buf) != len(f.Buf) {
				t.Fatalf("frame %d: length %d, capacity %d, want %d", i, len(f.Buf), cap(f.Buf), len(want[i]))
			}
			if !bytes.Equal(f.Eth(), want[i][pktio.HeaderLen:]) {
				t.Fatalf("frame %d differs:\n got %x\nwant %x", i, f.Eth(), want[i][pktio.HeaderLen:])
			}
			if f.Tagged {
				t.Fatalf("frame %d is said to be tagged", i)
			}
			i++
		}
		r.Receiver.Release(&r.rx)
	}
	var bytes uint64
	for _, b := range want {
		bytes += uint64(len(b) - pktio.HeaderLen)
	}
	if st := r.Receiver.Stats(); st != (pktio.RxStats{Packets: 400, Bytes: bytes}) {
		t.Errorf("receiver: %+v, want %d bytes", st, bytes)
	}
	if st := r.Sender.Stats(); st != (pktio.TxStats{Packets: 400, Bytes: bytes}) {
		t.Errorf("sender: %+v, want %d bytes", st, bytes)
	}
}

func testInPlace(t *testing.T, r *rig) {
	r.send(t, r.frame(100, 1), r.frame(100, 2))
	seen := 0
	for seen < 2 {
		for _, f := range r.recv(t) {
			copy(f.Eth(), bytes.Repeat([]byte{0xff}, 12))
			seen++
		}
		r.Receiver.Release(&r.rx)
	}
	want := r.frame(100, 3)
	sent := bytes.Clone(want)
	r.send(t, sent)
	if got := r.recv(t); !bytes.Equal(got[0].Eth(), want[pktio.HeaderLen:]) {
		t.Errorf("got %x", got[0].Eth())
	}
	if !bytes.Equal(sent, want) {
		t.Error("Send changed the frame")
	}
	r.Receiver.Release(&r.rx)
}

func testBatchLimits(t *testing.T, r *rig) {
	r.tx.N = 0
	if err := r.Sender.Send(&r.tx); err != nil {
		t.Fatalf("an empty batch: %v", err)
	}
	if st := r.Sender.Stats(); st != (pktio.TxStats{}) {
		t.Errorf("an empty batch counted: %+v", st)
	}
	const n = 3*pktio.BatchSize + 5
	var frames [][]byte
	for i := range n {
		frames = append(frames, r.frame(60, uint64(i)))
	}
	r.send(t, frames...)
	full := 0
	for next := uint64(0); next < n; {
		got := r.recv(t)
		if len(got) > pktio.BatchSize {
			t.Errorf("a batch of %d", len(got))
		}
		if len(got) == pktio.BatchSize {
			full++
		}
		for i := range got {
			if number(&got[i]) != next {
				t.Fatalf("frame %d where %d belongs", number(&got[i]), next)
			}
			next++
		}
		r.Receiver.Release(&r.rx)
	}
	if full == 0 {
		t.Error("no batch was full though all were sent before")
	}
	if extra := r.rest(t); len(extra) != 0 {
		t.Errorf("more than was sent: %v", extra)
	}
}

func testSuperFrames(t *testing.T, r *rig) {
	// Long and short ones in turn must keep their order.
	sizes := []int{60, 3000, 1514, 9014, 200, 30000, 65000, 60, 65500}
	for round := range 4 {
		var want [][]byte
		for i, size := range sizes {
			n := uint64(round*len(sizes) + i)
			if size > 1514 {
				want = append(want, r.superFrame(size, n))
			} else {
				want = append(want, r.frame(size, n))
			}
		}
		r.send(t, want...)
		for i := 0; i < len(want); {
			for _, f := range r.recv(t) {
				if !bytes.Equal(f.Eth(), want[i][pktio.HeaderLen:]) {
					t.Fatalf("frame of %d bytes came with %d and other content: number %d", sizes[i], len(f.Eth()), number(&f))
				}
				// All but the header length, a hint that the kernel sets anew.
				h, w := f.Buf[:pktio.HeaderLen], want[i]
				if sizes[i] > 1514 && (h[0] != w[0] || h[1] != w[1] || !bytes.Equal(h[4:10], w[4:10])) {
					t.Errorf("virtio header %x, want %x", h, w[:pktio.HeaderLen])
				}
				i++
			}
			r.Receiver.Release(&r.rx)
		}
	}
	if st := r.Receiver.Stats(); st.Long != 5*4 || st.Packets != uint64(4*len(sizes)) || st.Dropped+st.Truncated != 0 {
		t.Errorf("%+v", st)
	}
}
