package pktiotest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

func testLook(t *testing.T, r *rig) {
	for range 100 {
		if err := r.Receiver.Recv(&r.rx, 0); err != nil || r.rx.N != 0 {
			t.Fatalf("%d frames, %v", r.rx.N, err)
		}
	}
	r.send(t, r.frame(60, 1))
	if got := r.rest(t); len(got) != 1 {
		t.Errorf("after one frame was sent a look found %v", got)
	}
}

func testWaitEnds(t *testing.T, r *rig) {
	begin := time.Now()
	if err := r.Receiver.Recv(&r.rx, 30); err != nil || r.rx.N != 0 {
		t.Errorf("%d frames, %v", r.rx.N, err)
	}
	// Only the lower side can be told for sure on a busy machine.
	if d := time.Since(begin); d < 25*time.Millisecond {
		t.Errorf("a wait of 30 ms took %v", d)
	}
}

// received runs one Recv elsewhere and hands over what it brought.
func (r *rig) received(wait int) <-chan error {
	done := make(chan error, 1)
	go func() { done <- r.Receiver.Recv(&r.rx, wait) }()
	return done
}

func outcome(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience * time.Millisecond):
		t.Fatal("Recv did not return")
	}
}

func testFrameWakes(t *testing.T, r *rig) {
	for i, wait := range []int{-1, 60_000, -1} {
		done := r.received(wait)
		r.send(t, r.frame(60, uint64(i)))
		outcome(t, done)
		if r.rx.N != 1 || number(&r.rx.Frames[0]) != uint64(i) {
			t.Fatalf("%d frames", r.rx.N)
		}
		r.Receiver.Release(&r.rx)
	}
}

func testInterrupt(t *testing.T, r *rig) {
	// Before Recv: kept for the next one, once only.
	for _, wait := range []int{-1, 60_000} {
		r.Receiver.Interrupt()
		outcome(t, r.received(wait))
		if r.rx.N != 0 {
			t.Fatalf("%d frames", r.rx.N)
		}
	}
	r.Receiver.Interrupt()
	r.Receiver.Interrupt()
	outcome(t, r.received(-1))
	begin := time.Now()
	outcome(t, r.received(30))
	if d := time.Since(begin); d < 25*time.Millisecond {
		t.Errorf("the wait after an interrupted one took %v of 30 ms", d)
	}

	// During Recv.
	for _, wait := range []int{-1, 60_000} {
		done := r.received(wait)
		r.Receiver.Interrupt()
		outcome(t, done)
	}

	// Frames are not lost over it.
	r.send(t, r.frame(60, 9))
	r.Receiver.Interrupt()
	outcome(t, r.received(-1))
	if r.rx.N != 1 || number(&r.rx.Frames[0]) != 9 {
		t.Errorf("%d frames with an interrupt", r.rx.N)
	}
	r.Receiver.Release(&r.rx)
}

// Traffic, interrupts and readers of statistics at once; under the race detector
// this is the proof that they may.
func testManyInterrupts(t *testing.T, r *rig) {
	const total = 20_000
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Microsecond):
					r.Receiver.Interrupt()
					_ = r.Receiver.Stats()
					_ = r.Sender.Stats()
				}
			}
		})
	}
	// Not more in flight than the ring holds.
	credit := make(chan struct{}, r.Slots/2)
	all.Go(func() {
		var tx pktio.Batch
		for i := range total {
			select {
			case credit <- struct{}{}:
			case <-stop:
				return
			}
			tx.N = 0
			tx.Add(&pktio.Frame{Buf: r.frame(60, uint64(i))})
			if err := r.Sender.Send(&tx); err != nil {
				t.Error(err)
				return
			}
		}
	})
	func() {
		defer close(stop)
		end := time.Now().Add(2 * patience * time.Millisecond)
		for next := uint64(0); next < total; {
			if err := r.Receiver.Recv(&r.rx, -1); err != nil {
				t.Error(err)
				return
			}
			for i := range r.rx.Frames[:r.rx.N] {
				if n := number(&r.rx.Frames[i]); n != next {
					t.Errorf("frame %d where %d belongs", n, next)
					return
				}
				next++
				<-credit
			}
			r.Receiver.Release(&r.rx)
			if time.Now().After(end) {
				t.Errorf("%d of %d came in time: %+v", next, total, r.Receiver.Stats())
				return
			}
		}
	}()
	all.Wait()
}

func testStatistics(t *testing.T, r *rig) {
	var rx pktio.RxStats
	var tx pktio.TxStats
	for i := range 200 {
		for range 5 {
			r.send(t, r.frame(60, uint64(i)), r.frame(1000, uint64(i)))
		}
		if i%3 == 0 {
			r.send(t, r.superFrame(20000, uint64(i)))
		}
		if i%50 == 49 {
			r.rest(t)
		}
		a, b := r.Receiver.Stats(), r.Sender.Stats()
		if a.Packets < rx.Packets || a.Bytes < rx.Bytes || a.Dropped < rx.Dropped || a.Truncated < rx.Truncated || a.Long < rx.Long {
			t.Fatalf("receiver: %+v after %+v", a, rx)
		}
		if b.Packets < tx.Packets || b.Bytes < tx.Bytes || b.Busy < tx.Busy || b.TooLong < tx.TooLong || b.Errors < tx.Errors {
			t.Fatalf("sender: %+v after %+v", b, tx)
		}
		rx, tx = a, b
	}
	r.rest(t)
	rx = r.Receiver.Stats()
	if rx.Packets+rx.Dropped+rx.Truncated != tx.Packets {
		t.Errorf("sent %d, but %+v", tx.Packets, rx)
	}
	if err := r.Receiver.Close(); err != nil {
		t.Fatal(err)
	}
	if st := r.Receiver.Stats(); st != rx {
		t.Errorf("after Close %+v, before it %+v", st, rx)
	}
}

func testAllocations(t *testing.T, r *rig) {
	short, super := r.frame(60, 1), r.superFrame(30000, 2)
	round := func() {
		r.tx.N = 0
		for range 8 {
			r.tx.Add(&pktio.Frame{Buf: short})
		}
		r.tx.Add(&pktio.Frame{Buf: super})
		if err := r.Sender.Send(&r.tx); err != nil {
			t.Fatal(err)
		}
		for left := r.tx.N; left > 0; {
			if err := r.Receiver.Recv(&r.rx, patience); err != nil || r.rx.N == 0 {
				t.Fatalf("%d frames, %v", r.rx.N, err)
			}
			left -= r.rx.N
			r.Receiver.Release(&r.rx)
		}
		if err := r.Receiver.Recv(&r.rx, 1); err != nil { // waits in vain
			t.Fatal(err)
		}
	}
	for range r.Slots {
		round() // a backend may make its memory on the first way round
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}

func testClose(t *testing.T, r *rig) {
	r.send(t, r.frame(60, 1))
	for range 2 {
		if err := r.Receiver.Close(); err != nil {
			t.Errorf("closing the receiver: %v", err)
		}
		if err := r.Sender.Close(); err != nil {
			t.Errorf("closing the sender: %v", err)
		}
	}
	if err := r.Receiver.Recv(&r.rx, -1); !errors.Is(err, pktio.ErrClosed) || r.rx.N != 0 {
		t.Errorf("Recv after Close: %d frames, %v", r.rx.N, err)
	}
	r.tx.N = 0
	r.tx.Add(&pktio.Frame{Buf: r.frame(60, 1)})
	if err := r.Sender.Send(&r.tx); !errors.Is(err, pktio.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	r.Receiver.Interrupt()
	r.Receiver.Release(&r.rx)
	_, _ = r.Receiver.Stats(), r.Sender.Stats()
}
