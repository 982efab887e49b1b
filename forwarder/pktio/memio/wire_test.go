package memio

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

func one(b []byte) *pktio.Batch {
	var tx pktio.Batch
	tx.Add(&pktio.Frame{Buf: b, Tagged: true, TCI: 7})
	return &tx
}

// What only this wire can: several senders, tags, a filter, being unplugged.
func TestWire(t *testing.T) {
	s, r := Pipe(Config{Slots: 4})
	second := r.NewSender(0)
	to := func(last byte) []byte {
		b := make([]byte, pktio.HeaderLen+60)
		copy(b[pktio.HeaderLen:], []byte{2, 0, 0, 0, 0, 1})
		b[pktio.HeaderLen+12] = 8
		copy(b[pktio.HeaderLen+30:], []byte{10, 0, 0, last})
		return b
	}
	var rx pktio.Batch
	count := func(want int) {
		t.Helper()
		if err := r.Recv(&rx, 0); err != nil || rx.N != want {
			t.Fatalf("%d frames, want %d, %v", rx.N, want, err)
		}
	}
	for _, s := range []*Sender{s, second} {
		if err := s.Send(one(to(1))); err != nil {
			t.Fatal(err)
		}
	}
	count(2)
	if f := rx.Frames[1]; !f.Tagged || f.TCI != 7 {
		t.Errorf("tagged %v, %d", f.Tagged, f.TCI)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Recv before Release did not panic")
			}
		}()
		r.Recv(&pktio.Batch{}, 0)
	}()
	r.Release(&rx)

	err := r.SetFilter(pktio.Filter{MACs: [][6]byte{{2, 0, 0, 0, 0, 1}}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}})
	if err != nil {
		t.Fatal(err)
	}
	s.Send(one(to(1)))
	s.Send(one(to(2)))
	count(1)
	r.Release(&rx)

	r.SetDown(true)
	if err := s.Send(one(to(2))); err != nil || s.Stats().Errors != 1 {
		t.Errorf("sending on an unplugged wire: %v, %+v", err, s.Stats())
	}
	if err := r.Recv(&rx, -1); !errors.Is(err, pktio.ErrDown) {
		t.Errorf("Recv on an unplugged wire: %v", err)
	}
	count(0)
	r.SetDown(false)
	s.Send(one(to(2)))
	count(1)
	r.Release(&rx)
}

// Waiting follows the clock of a synctest bubble.
func TestWaitInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := Pipe(Config{})
		var rx pktio.Batch
		begin := time.Now()
		if err := r.Recv(&rx, 1500); err != nil || rx.N != 0 || time.Since(begin) != 1500*time.Millisecond {
			t.Errorf("%d frames after %v, %v", rx.N, time.Since(begin), err)
		}
		go func() {
			time.Sleep(time.Hour)
			s.Send(one(make([]byte, pktio.HeaderLen+60)))
		}()
		begin = time.Now()
		if err := r.Recv(&rx, -1); err != nil || rx.N != 1 || time.Since(begin) != time.Hour {
			t.Errorf("%d frames after %v, %v", rx.N, time.Since(begin), err)
		}
	})
}
