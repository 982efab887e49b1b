package afpacket

import (
	"bytes"
	"testing"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// All sizes arrive byte for byte and in order.
func TestFramesOfAllSizesArriveWhole(t *testing.T) {
	w := newWire(t)
	r, s := w.receivers(t, Config{}, 1)[0], w.sender(t, w.a)
	total := 100_000
	if testing.Short() {
		total = 10_000
	}
	size := func(i int) int { return 60 + i*7%(1514-60+1) }
	var rx pktio.Batch
	for i := 0; i < total; {
		var frames [][]byte
		for range min(512, total-i) {
			frames = append(frames, w.frame(size(i), uint16(i%100), uint64(i)))
			i++
		}
		send(t, s, frames...)
		for len(frames) > 0 {
			if err := r.Recv(&rx, patience); err != nil {
				t.Fatal(err)
			}
			if rx.N == 0 {
				t.Fatalf("%d frames did not come; %+v %+v", len(frames), r.Stats(), s.Stats())
			}
			for j := range rx.Frames[:rx.N] {
				f := &rx.Frames[j]
				if !bytes.Equal(f.Eth(), frames[0][pktio.HeaderLen:]) {
					t.Fatalf("frame %d of %d bytes: got\n%x\nwant\n%x", numberOf(f), len(f.Eth()), f.Eth(), frames[0][pktio.HeaderLen:])
				}
				frames = frames[1:]
			}
			r.Release(&rx)
		}
	}
	if st := r.Stats(); st.Packets != uint64(total) || st.Dropped+st.Truncated+st.Long != 0 {
		t.Errorf("%+v", st)
	}
	if st := s.Stats(); st.Packets != uint64(total) || st.Bytes != r.Stats().Bytes || st.Busy+st.TooLong+st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}
