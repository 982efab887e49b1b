package bench

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// queue is a receive ring on the client side and what goes with it.
type queue struct {
	rx               *drained
	servers, clients *afpacket.Sender
}

// open opens n queues as svm-fwd does; they close with the test.
func (r *road) open(t testing.TB, cfg afpacket.Config, n int) []*queue {
	t.Helper()
	cfg.Device = "eth0"
	var qs []*queue
	err := r.director.Do(func() error {
		receivers, err := afpacket.NewReceivers(cfg, n)
		if err != nil {
			return err
		}
		for _, rx := range receivers {
			q := &queue{rx: &drained{Receiver: rx}}
			qs = append(qs, q)
			var e1, e2 error
			q.servers, e1 = afpacket.NewSender(afpacket.SenderConfig{Device: "eth1"})
			q.clients, e2 = afpacket.NewSender(afpacket.SenderConfig{Device: "eth0"})
			if err := errors.Join(e1, e2); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range qs {
		q.filter(t, r.filter)
		t.Cleanup(func() {
			if err := errors.Join(q.rx.Close(), q.servers.Close(), q.clients.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	return qs
}

// filter says what may enter the ring from now on.
func (q *queue) filter(t testing.TB, f pktio.Filter) {
	t.Helper()
	if err := q.rx.SetFilter(f); err != nil {
		t.Fatal(err)
	}
}

// turn forwards on the calling thread until the context ends.
type turn func(ctx context.Context) error

// reflector is the least that forwards: receive, set the addresses, send.
func (r *road) reflector(q *queue, to [6]byte) turn {
	addresses := frame.MakeAddresses(to, r.out)
	var b pktio.Batch
	return func(ctx context.Context) error {
		defer context.AfterFunc(ctx, q.rx.Interrupt)()
		for ctx.Err() == nil {
			if err := q.rx.Recv(&b, -1); err != nil {
				return err
			}
			for i := range b.Frames[:b.N] {
				copy(b.Frames[i].Eth(), addresses[:])
			}
			if b.N == 0 {
				continue
			}
			err := q.servers.Send(&b)
			q.rx.Release(&b)
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// worker is number i of n workers of the packet core, wired as svm-fwd does.
func (f *farm) worker(q *queue, i, n int) *forwarder.Worker {
	return forwarder.NewWorker(forwarder.WorkerConfig{
		Receiver: q.rx, Servers: q.servers, Clients: q.clients,
		Table: f.table, Snapshot: &f.snapshot, Now: f.now, Index: i, Count: n,
	})
}

// launch runs turns, each on a thread of its own, until stop or the end of the
// test.
func launch(t testing.TB, cpu int, turns ...turn) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done []<-chan error
	for _, f := range turns {
		done = append(done, spawn(cpu, func() error { return f(ctx) }))
	}
	return once(t, func() {
		cancel()
		for _, d := range done {
			if err := <-d; err != nil {
				t.Error(err)
			}
		}
	})
}

// clock is the table's time, as svm-fwd's.
func clock() func() flow.Tick {
	start := time.Now()
	return func() flow.Tick { return flow.Tick(time.Since(start).Milliseconds()) }
}
