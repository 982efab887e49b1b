package forwarder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// wire is both ends of a worker in memory: batches that wait to be received, and
// what was sent. It checks the order of calls that pktio asks for.
type wire struct {
	t       testing.TB
	mu      sync.Mutex
	waiting [][][]byte
	wake    chan struct{}
	lent    bool
	fail    error // of Recv
	sent    [][]byte
	refuse  error // of Send
}

func newWire(t testing.TB) *wire { return &wire{t: t, wake: make(chan struct{}, 1)} }

func (w *wire) put(frames ...[]byte) {
	w.mu.Lock()
	w.waiting = append(w.waiting, frames2(frames))
	w.mu.Unlock()
	w.Interrupt()
}

// frames2 copies frames: the worker changes them.
func frames2(frames [][]byte) (out [][]byte) {
	for _, f := range frames {
		out = append(out, append([]byte(nil), f...))
	}
	return out
}

func (w *wire) Recv(rx *pktio.Batch, wait int) error {
	rx.N = 0
	for range 2 {
		w.mu.Lock()
		if w.lent {
			w.t.Error("Recv before the last batch was released")
		}
		if w.fail != nil {
			err := w.fail
			w.fail = nil
			w.mu.Unlock()
			return err
		}
		if len(w.waiting) > 0 {
			for _, eth := range w.waiting[0] {
				rx.Add(&pktio.Frame{Buf: append(make([]byte, pktio.HeaderLen), eth...)})
			}
			w.waiting = w.waiting[1:]
			w.lent = true
			w.mu.Unlock()
			return nil
		}
		w.mu.Unlock()
		select {
		case <-w.wake:
		case <-time.After(time.Duration(wait) * time.Millisecond):
			return nil
		}
	}
	return nil
}

func (w *wire) Release(rx *pktio.Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.lent {
		w.t.Error("Release of what was not lent")
	}
	w.lent = false
	rx.N = 0
}

func (w *wire) Interrupt() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *wire) Stats() pktio.RxStats { return pktio.RxStats{} }
func (w *wire) Close() error         { return nil }

type sink struct{ *wire }

func (s sink) Send(tx *pktio.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lent {
		s.t.Error("frames are sent after their memory was released")
	}
	for i := range tx.N {
		s.sent = append(s.sent, append([]byte(nil), tx.Frames[i].Eth()...))
	}
	return s.refuse
}

func (s sink) Stats() pktio.TxStats { return pktio.TxStats{} }

type workbench struct {
	*rig
	wire     *wire
	worker   *Worker
	snapshot atomic.Pointer[Snapshot]
	clock    atomic.Uint32
}

func newWorkbench(t *testing.T, capacity int, index, count int) *workbench {
	b := &workbench{rig: newRig(t, capacity, 50), wire: newWire(t)}
	b.snapshot.Store(b.snap)
	b.clock.Store(uint32(b.now))
	b.worker = NewWorker(WorkerConfig{
		Receiver: b.wire, Servers: sink{b.wire}, Clients: sink{b.wire}, Table: b.table, Snapshot: &b.snapshot,
		Now: func() flow.Tick { return flow.Tick(b.clock.Load()) }, Index: index, Count: count,
	})
	return b
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestWorkerRuns(t *testing.T) {
	b := newWorkbench(t, 100, 0, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- b.worker.Run(ctx) }()
	f := families()[0]
	b.wire.put(f.tcp(1, 1, syn), f.tcp(1, 1, ack), echo(f.host(1), f.vip), f.tcp(1, 1, ack)[:20])
	b.wire.put(f.udp(1, 1))
	sent := func() int { b.wire.mu.Lock(); defer b.wire.mu.Unlock(); return len(b.wire.sent) }
	eventually(t, "four frames sent", func() bool { return sent() == 4 })
	eventually(t, "the counters are published", func() bool {
		c := b.worker.Counters()
		return c[Scheduled].Load() == 2 && c[Known].Load() == 1 && c[EchoReply].Load() == 1 && c[Reason(1)].Load() == 1
	})
	if s := b.server("web/a").stats; s.Packets.Load() != 2 || s.Connections.Load() != 1 || s.Bytes.Load() != 94 {
		t.Errorf("%d packets, %d connections, %d bytes", s.Packets.Load(), s.Connections.Load(), s.Bytes.Load())
	}
	b.wire.mu.Lock()
	b.wire.fail = fmt.Errorf("eth0: %w", pktio.ErrDown) // goes by
	b.wire.mu.Unlock()
	b.wire.put(f.udp(1, 1))
	eventually(t, "frames after the device was down", func() bool { return sent() == 5 })
	b.clock.Add(301_000)
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not end with its context")
	}
	if b.worker.Counters()[Known].Load() != 2 {
		t.Error("what was counted last is not published at the end")
	}
}

func TestWorkerEndsOnErrors(t *testing.T) {
	f := families()[0]
	broken := errors.New("broken")
	for name, set := range map[string]func(w *wire){
		"receiver": func(w *wire) { w.fail = broken },
		"closed":   func(w *wire) { w.fail = pktio.ErrClosed },
		"sender":   func(w *wire) { w.refuse = broken; w.put(f.tcp(1, 1, syn), echo(f.host(1), f.vip)) },
	} {
		b := newWorkbench(t, 100, 0, 1)
		set(b.wire)
		if err := b.worker.Run(t.Context()); !errors.Is(err, broken) && !errors.Is(err, pktio.ErrClosed) {
			t.Errorf("%s: Run returns %v", name, err)
		}
		if b.wire.lent {
			t.Errorf("%s: the batch was not released", name)
		}
	}
}

// A new Snapshot may use an index for another server: what was counted under the
// old one must go to the old one's Stats.
func TestWorkerSwitchesSnapshots(t *testing.T) {
	b := newWorkbench(t, 100, 0, 1)
	f := families()[0]
	b.specs[0].servers = b.specs[0].servers[:1]
	b.rebuild()
	b.snapshot.Store(b.snap)
	step := func(frames ...[]byte) {
		t.Helper()
		b.wire.put(frames...)
		if err := b.worker.step(0); err != nil {
			t.Fatal(err)
		}
	}
	b.worker.published = b.now
	step(f.tcp(1, 1, syn), f.tcp(1, 1, ack))
	old := b.server("web/a")
	if old.stats.Packets.Load() != 0 {
		t.Fatal("published at once; the test wants it in the books")
	}
	oldLoad := old.load
	b.specs[0].servers = servers("new")
	b.server("web/new").generation = 1
	b.rebuild()
	b.snapshot.Store(b.snap)
	step(f.tcp(2, 1, syn), f.tcp(1, 1, ack), f.tcp(1, 1, ack), f.tcp(1, 1, ack))
	b.clock.Add(200)
	step()
	if p, c := old.stats.Packets.Load(), old.stats.Connections.Load(); p != 2 || c != 1 {
		t.Errorf("the old server has %d packets and %d connections, want 2 and 1", p, c)
	}
	now := b.server("web/new")
	if p, c := now.stats.Packets.Load(), now.stats.Connections.Load(); p != 4 || c != 2 {
		t.Errorf("the new server has %d packets and %d connections, want 4 and 2", p, c)
	}
	if now.load.Active()+now.load.Inactive() != 2 || oldLoad.Active() != 1 {
		t.Errorf("loads %d+%d and %d", now.load.Active(), now.load.Inactive(), oldLoad.Active())
	}
}

// A worker that is never idle publishes all the same, whatever the clock shows.
func TestWorkerPublishesWhenBusy(t *testing.T) {
	for _, now := range []uint32{0, 5, 1 << 31, 3 << 30, 1<<32 - 150} {
		b := newWorkbench(t, 100, 0, 1)
		b.clock.Store(now)
		eth := families()[0].tcp(1, 1, syn)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		for range 40 {
			b.wire.put(eth)
		}
		steps := uint32(0)
		b.worker.cfg.Now = func() flow.Tick { // 10 ms pass from batch to batch
			steps++
			if steps == 40 {
				if n := b.worker.Counters()[Known].Load() + b.worker.Counters()[Scheduled].Load(); n < 20 {
					t.Errorf("at %d: %d of 38 frames are published while busy", now, n)
				}
				cancel()
			}
			return flow.Tick(now + 10*steps)
		}
		go func() { done <- b.worker.Run(ctx) }()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Expired entries go within the sweep's period, or two when the worker has its
// hands full, in every sort of traffic and with several workers.
func TestWorkerSweeps(t *testing.T) {
	const entries = 50_000
	f := families()[0]
	var full [][]byte
	for range pktio.BatchSize {
		full = append(full, f.tcp(1, 1, syn)[:30])
	}
	for _, c := range []struct {
		name    string
		frames  [][]byte
		ms      uint32 // from step to step
		workers int
		within  int // ms
	}{
		{"idle", nil, 50, 1, sweepPeriod + 200},
		{"idle, 4 workers", nil, 50, 4, sweepPeriod + 200},
		{"a frame now and then", full[:1], 40, 1, 2 * sweepPeriod},
		{"a frame often", full[:1], 10, 1, sweepPeriod + 200},
		{"a frame often, 2 workers", full[:1], 10, 2, sweepPeriod + 200},
		{"full batches", full, 1, 1, sweepPeriod + 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newWorkbench(t, entries, 0, c.workers)
			workers := []*Worker{b.worker}
			for len(workers) < c.workers {
				cfg := b.worker.cfg
				cfg.Index = len(workers)
				workers = append(workers, NewWorker(cfg))
			}
			for i, w := range workers { // as Run begins
				w.sweepAt, w.sweptAt = b.table.Buckets()/c.workers*i, b.now
			}
			b.core.snap, b.core.now = b.snap, b.now
			for n := range entries {
				k := randomFlow(n)
				m := flow.MakeMeta(flow.Established, b.snap.VIPs[k.Dst()].Services[0].Backends[n%2].Ref)
				b.table.Insert(&k, b.table.Hash(&k), m, b.now, b.now, b.core)
			}
			if b.table.Len() != entries {
				t.Fatal(b.table.Len())
			}
			at := 0
			for ; b.table.Len() > 0 && at < c.within; at += int(c.ms) {
				b.clock.Add(c.ms)
				for _, w := range workers {
					if c.frames != nil {
						b.wire.put(c.frames...)
					}
					if err := w.step(0); err != nil {
						t.Fatal(err)
					}
				}
			}
			if b.table.Len() != 0 {
				t.Errorf("%d entries are left after %d ms", b.table.Len(), at)
			}
			b.balanced()
		})
	}
}
