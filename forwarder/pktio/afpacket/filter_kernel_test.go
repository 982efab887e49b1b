package afpacket

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// The kernel lets exactly the frames in that Match does, for many addresses.
func TestKernelFilterAgreesWithMatch(t *testing.T) {
	w := newWire(t)
	r, s := w.receivers(t, Config{}, 1)[0], w.sender(t, w.a)
	rnd := rand.New(rand.NewPCG(7, 8))
	f := pktio.Filter{MACs: [][6]byte{w.dst, {0, 0, 0x5e, 0, 1, 51}}}
	for i := range 300 {
		f.Addrs = append(f.Addrs, netip.AddrFrom4([4]byte{10, 9, byte(i / 8), byte(3 * i)}))
	}
	for i := range 100 {
		b := vip6.As16()
		b[13], b[15] = byte(i/16), byte(5*i)
		f.Addrs = append(f.Addrs, netip.AddrFrom16(b))
	}
	if err := r.SetFilter(f); err != nil {
		t.Fatal(err)
	}
	var rx pktio.Batch
	passed := 0
	for round := range 100 {
		var frames [][]byte
		var want []uint64
		for i := range 200 {
			n := uint64(round*200 + i)
			b := w.frame(70, 1, n)
			eth := b[pktio.HeaderLen:]
			// Behind all addresses, so that no choice below touches it.
			binary.BigEndian.PutUint64(eth[60:], n)
			switch rnd.IntN(5) {
			case 0:
				copy(eth, f.MACs[1][:])
			case 1:
				eth[rnd.IntN(6)] ^= 1 << rnd.UintN(8)
			}
			a := f.Addrs[rnd.IntN(len(f.Addrs))]
			if rnd.IntN(3) == 0 {
				a = a.Next()
			}
			if a.Is4() {
				copy(eth[30:], a.AsSlice())
			} else {
				binary.BigEndian.PutUint16(eth[12:], 0x86dd)
				copy(eth[38:], a.AsSlice())
			}
			if rnd.IntN(10) == 0 {
				binary.BigEndian.PutUint16(eth[12:], []uint16{0x0806, 0x88b5, 0x0800, 0x86dd}[rnd.IntN(4)])
			}
			frames = append(frames, b)
			if f.Match(eth) {
				want = append(want, n)
			}
		}
		// The last one tells that all before it are through.
		last := w.frame(70, 1, 0)
		copy(last[pktio.HeaderLen+30:], f.Addrs[0].AsSlice())
		binary.BigEndian.PutUint64(last[pktio.HeaderLen+60:], 1<<40)
		send(t, s, append(frames, last)...)
		for i, done := 0, false; !done; {
			if err := r.Recv(&rx, patience); err != nil || rx.N == 0 {
				t.Fatalf("%d frames, %v", rx.N, err)
			}
			for j := range rx.Frames[:rx.N] {
				n := binary.BigEndian.Uint64(rx.Frames[j].Eth()[60:])
				if n == 1<<40 {
					if i != len(want) {
						t.Fatalf("frame %d was kept out", want[i])
					}
					done = true
					break
				}
				if i == len(want) || n != want[i] {
					t.Fatalf("frame %d was let in: %x", n, frames[n-uint64(round)*200][pktio.HeaderLen:])
				}
				i, passed = i+1, passed+1
			}
			r.Release(&rx)
		}
	}
	if passed < 5000 || passed > 15000 {
		t.Errorf("%d of 20000 passed: the frames test one side only", passed)
	}
}

// Before SetFilter nothing enters, and the filter changes under traffic without
// a frame that neither filter allows.
func TestSetFilterUnderTraffic(t *testing.T) {
	w := newWire(t)
	rs := w.receivers(t, Config{}, 1)
	r, s := rs[0], w.sender(t, w.a)
	other := vip4.Next()
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		var tx pktio.Batch
		one, two := w.frame(60, 1, 1), w.frame(60, 1, 2)
		copy(two[pktio.HeaderLen+30:], other.AsSlice())
		third := w.frame(60, 1, 3)
		copy(third[pktio.HeaderLen+30:], other.Next().AsSlice())
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			tx.N = 0
			for _, b := range [][]byte{one, two, third} {
				tx.Add(&pktio.Frame{Buf: b})
			}
			if err := s.Send(&tx); err != nil {
				stopped <- err
				return
			}
		}
	}()
	var rx pktio.Batch
	for i := range 50 {
		f := w.filter
		want := uint64(1 + i%2)
		f.Addrs = []netip.Addr{[]netip.Addr{vip4, other}[i%2]}
		if err := r.SetFilter(f); err != nil {
			t.Fatal(err)
		}
		// What came before is in the ring still; then the new filter rules.
		for ruled := 0; ruled < 200; {
			if err := r.Recv(&rx, patience); err != nil || rx.N == 0 {
				t.Fatalf("%d frames, %v", rx.N, err)
			}
			for j := range rx.Frames[:rx.N] {
				switch n := numberOf(&rx.Frames[j]); {
				case n == 3:
					t.Fatal("a frame came in that no filter allowed")
				case n == want:
					ruled++
				case ruled > 0:
					t.Fatalf("frame %d after the filter for %d ruled", n, want)
				}
			}
			r.Release(&rx)
		}
	}
	if err := r.SetFilter(pktio.Filter{}); err != nil {
		t.Fatal(err)
	}
	// Empty what is left; with the sender still running nothing more may come.
	for {
		if err := r.Recv(&rx, 0); err != nil {
			t.Fatal(err)
		}
		if rx.N == 0 {
			break
		}
		r.Release(&rx)
	}
	before := s.Stats().Packets
	for s.Stats().Packets < before+3000 {
		if err := r.Recv(&rx, 1); err != nil || rx.N != 0 {
			t.Fatalf("%d frames through an empty filter, %v", rx.N, err)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

// A receiver starts deaf.
func TestNothingEntersBeforeSetFilter(t *testing.T) {
	w := newWire(t)
	s := w.sender(t, w.a)
	var rs []*Receiver
	if err := w.b.Do(func() (err error) { rs, err = NewReceivers(Config{Device: "eth0"}, 2); return }); err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		defer r.Close()
	}
	for i := range 1000 {
		send(t, s, w.frame(60, uint16(i), uint64(i)))
	}
	var rx pktio.Batch
	for _, r := range rs {
		if err := r.Recv(&rx, 0); err != nil || rx.N != 0 {
			t.Errorf("%d frames, %v", rx.N, err)
		}
		if st := r.Stats(); st != (pktio.RxStats{}) {
			t.Errorf("%+v", st)
		}
	}
}
