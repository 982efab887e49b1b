package afpacket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// expect receives until the frame with that number came.
func expect(t *testing.T, r *Receiver, number uint64) {
	t.Helper()
	var rx pktio.Batch
	for {
		err := r.Recv(&rx, patience)
		if err != nil || rx.N == 0 {
			t.Fatalf("frame %d: %d frames, %v", number, rx.N, err)
		}
		found := false
		for i := range rx.Frames[:rx.N] {
			found = found || numberOf(&rx.Frames[i]) == number
		}
		r.Release(&rx)
		if found {
			return
		}
	}
}

// quiet checks that Recv waits and returns nothing, instead of spinning.
func quiet(t *testing.T, r *Receiver) {
	t.Helper()
	var rx pktio.Batch
	begin := time.Now()
	if err := r.Recv(&rx, 30); err != nil || rx.N != 0 {
		t.Fatalf("%d frames, %v", rx.N, err)
	}
	if d := time.Since(begin); d < 25*time.Millisecond {
		t.Fatalf("a wait of 30 ms ended after %v", d)
	}
}

// A device that goes down is reported once; when it is up again frames come, to
// a group of receivers as to one.
func TestLinkDownAndUp(t *testing.T) {
	for _, n := range []int{1, 2} {
		w := newWire(t)
		rs, s := w.receivers(t, Config{}, n), w.sender(t, w.a)
		back := w.sender(t, w.b)
		var rx pktio.Batch
		for round := range 3 {
			w.b.LinkDown("eth0")
			for _, r := range rs {
				// What came before it went down is handed out first.
				err := r.Recv(&rx, patience)
				for err == nil && rx.N > 0 {
					r.Release(&rx)
					err = r.Recv(&rx, patience)
				}
				if !errors.Is(err, pktio.ErrDown) {
					t.Fatalf("round %d: Recv says %v", round, err)
				}
				quiet(t, r)
			}
			// Sending over it counts and does not fail.
			before := back.Stats()
			send(t, back, w.frame(60, 1, 1), w.frame(60, 1, 2))
			if st := back.Stats(); st.Errors != before.Errors+2 || st.Packets != before.Packets {
				t.Errorf("sending on a device that is down: %+v, before %+v", st, before)
			}
			w.b.LinkUp("eth0")
			// The carrier takes its time; then every receiver gets frames again.
			for i, r := range rs {
				got := false
				for end := time.Now().Add(patience * time.Millisecond); !got; {
					if time.Now().After(end) {
						t.Fatalf("round %d: receiver %d gets nothing after the device is up: %+v", round, i, s.Stats())
					}
					for flow := range uint16(16) {
						send(t, s, w.frame(60, flow, 3))
					}
					if err := r.Recv(&rx, 10); err != nil {
						t.Fatal(err)
					}
					got = rx.N > 0
					r.Release(&rx)
				}
			}
		}
	}
}

// A reader that is blocked learns at once that the device went down, and can
// still be interrupted when it was removed.
func TestLinkRemoved(t *testing.T) {
	w := newWire(t)
	r, s := w.receivers(t, Config{}, 1)[0], w.sender(t, w.b)
	var rx pktio.Batch
	failed := make(chan error)
	go func() { failed <- r.Recv(&rx, -1) }()
	w.a.LinkDel("eth0")
	err := <-failed
	if errors.Is(err, pktio.ErrDown) {
		// The kernel says down first; a reader may come between.
		err = r.Recv(&rx, patience)
	}
	if !errors.Is(err, pktio.ErrGone) {
		t.Fatalf("Recv says %v", err)
	}
	quiet(t, r)
	r.Interrupt()
	if err := r.Recv(&rx, -1); err != nil {
		t.Errorf("an interrupted Recv says %v", err)
	}
	var tx pktio.Batch
	tx.Add(&pktio.Frame{Buf: w.frameTo([6]byte{2}, 60)})
	for range 2 {
		if err := s.Send(&tx); !errors.Is(err, pktio.ErrGone) {
			t.Errorf("Send says %v", err)
		}
	}
	if st := s.Stats(); st.Errors != 2 || st.Packets != 0 {
		t.Errorf("%+v", st)
	}
}

// Frames that came before the device went down are not lost, long ones neither.
func TestFramesBeforeLinkDown(t *testing.T) {
	w := newWire(t)
	r, s := w.receivers(t, Config{}, 1)[0], w.sender(t, w.a)
	before := w.b.Counters("eth0").RxPackets
	send(t, s, w.frame(60, 1, 1), w.superFrame(30000), w.frame(60, 1, 2))
	for end := time.Now().Add(patience * time.Millisecond); w.b.Counters("eth0").RxPackets < before+3; {
		if time.Now().After(end) {
			t.Fatal("the frames do not arrive")
		}
	}
	w.b.LinkDown("eth0")
	var rx pktio.Batch
	var sizes []int
	for len(sizes) < 3 {
		if err := r.Recv(&rx, patience); err != nil || rx.N == 0 {
			t.Fatalf("%d frames, then %v", len(sizes), err)
		}
		for i := range rx.Frames[:rx.N] {
			sizes = append(sizes, len(rx.Frames[i].Eth()))
		}
		r.Release(&rx)
	}
	if sizes[0] != 60 || sizes[1] != 30000 || sizes[2] != 60 {
		t.Errorf("frames of %v bytes", sizes)
	}
	if err := r.Recv(&rx, patience); !errors.Is(err, pktio.ErrDown) {
		t.Errorf("then Recv says %v", err)
	}
	quiet(t, r)
}

// A tag that came with the frame is told beside it.
func TestVLANTag(t *testing.T) {
	w := newWire(t)
	r, s := w.receivers(t, Config{}, 1)[0], w.sender(t, w.a)
	plain := w.frame(100, 1, 7)
	tag := func(b []byte) []byte {
		out := bytes.Clone(b[:pktio.HeaderLen+12])
		out = append(out, 0x81, 0x00, 0x61, 0x23)
		return append(out, b[pktio.HeaderLen+12:]...)
	}
	// A long one takes the way through the queue, with the same result. Its virtio
	// header counts from the frame's beginning.
	long := w.superFrame(20000)
	longTagged := tag(long)
	binary.NativeEndian.PutUint16(longTagged[2:], 58)
	binary.NativeEndian.PutUint16(longTagged[6:], 38)
	send(t, s, tag(plain), tag(tag(plain)), plain, longTagged)
	var rx pktio.Batch
	var got []pktio.Frame
	for len(got) < 3 {
		if err := r.Recv(&rx, patience); err != nil || rx.N == 0 {
			t.Fatalf("%d frames, %v", len(got), err)
		}
		for _, f := range rx.Frames[:rx.N] {
			f.Buf = bytes.Clone(f.Buf)
			got = append(got, f)
		}
		r.Release(&rx)
	}
	if !got[0].Tagged || got[0].TCI != 0x6123 || !bytes.Equal(got[0].Eth(), plain[pktio.HeaderLen:]) {
		t.Errorf("the tagged frame came as tagged %v, %#x\n%x", got[0].Tagged, got[0].TCI, got[0].Eth())
	}
	if got[1].Tagged || !bytes.Equal(got[1].Eth(), plain[pktio.HeaderLen:]) {
		t.Errorf("the plain frame came as tagged %v\n%x", got[1].Tagged, got[1].Eth())
	}
	if f := got[2]; !f.Tagged || f.TCI != 0x6123 || !bytes.Equal(f.Eth(), long[pktio.HeaderLen:]) || !bytes.Equal(f.Buf[4:10], long[4:10]) {
		t.Errorf("the long one came as %d bytes, tagged %v, %#x, header %x", len(f.Eth()), f.Tagged, f.TCI, f.Buf[:10])
	}
}

// A MAC address that is not the device's own can be added and dropped.
func TestAddMAC(t *testing.T) {
	w := newWire(t)
	r := w.receivers(t, Config{}, 1)[0]
	virtual := [6]byte{0, 0, 0x5e, 0, 1, 51}
	if err := r.AddMAC(virtual); err != nil {
		t.Fatal(err)
	}
	w.filter.MACs = append(w.filter.MACs, virtual)
	if err := r.SetFilter(w.filter); err != nil {
		t.Fatal(err)
	}
	s := w.sender(t, w.a)
	send(t, s, w.frameTo(virtual, 60), w.frame(60, 1, 5))
	expect(t, r, 77)
	if err := r.DropMAC(virtual); err != nil {
		t.Error(err)
	}
}

// A virtio header the kernel refuses costs its own frame only; one that says
// "checksum known to be good", as received frames do, passes.
func TestVirtioHeaders(t *testing.T) {
	w := newWire(t)
	r, s := w.receivers(t, Config{}, 1)[0], w.sender(t, w.a)
	with := func(number uint64, header ...byte) []byte {
		b := w.frame(100, 1, number)
		copy(b, header)
		return b
	}
	badStart := with(2, 1)
	binary.NativeEndian.PutUint16(badStart[6:], 5000) // checksum behind the end
	send(t, s,
		with(1, 2),    // data valid
		badStart,      //
		with(3, 0, 9), // unknown segmentation type
		with(4, 2),
		make([]byte, pktio.HeaderLen+5), // no Ethernet header
		with(5))
	var rx pktio.Batch
	var got []uint64
	for len(got) < 3 {
		if err := r.Recv(&rx, patience); err != nil || rx.N == 0 {
			t.Fatalf("came %v, then %v; %+v", got, err, s.Stats())
		}
		for i := range rx.Frames[:rx.N] {
			got = append(got, numberOf(&rx.Frames[i]))
		}
		r.Release(&rx)
	}
	if len(got) != 3 || got[0] != 1 || got[1] != 4 || got[2] != 5 {
		t.Errorf("came %v", got)
	}
	if st := s.Stats(); st.Packets != 3 || st.Errors != 3 || st.Busy+st.TooLong != 0 {
		t.Errorf("%+v", st)
	}
}

func TestOpenErrors(t *testing.T) {
	w := newWire(t)
	for _, cfg := range []Config{
		{Device: "eth7"}, {Device: "eth0", Slots: 1}, {Device: "eth0", SlotSize: 100},
		{Device: "eth0", Slots: 1 << 20, SlotSize: 1 << 17}, {Device: "eth0", QueueBytes: -1}, {Device: "eth0", LongSize: 100},
	} {
		err := w.b.Do(func() error {
			rs, err := NewReceivers(cfg, 1)
			for _, r := range rs {
				r.Close()
			}
			return err
		})
		if err == nil {
			t.Errorf("%+v was taken", cfg)
		} else {
			t.Log(err)
		}
	}
	if err := w.b.Do(func() error { _, err := NewReceivers(Config{Device: "eth0"}, 0); return err }); err == nil {
		t.Error("no receivers were opened without an error")
	}
	if err := w.b.Do(func() error { _, err := NewSender(SenderConfig{Device: "eth7"}); return err }); err == nil {
		t.Error("a sender on no device was opened")
	}
}
