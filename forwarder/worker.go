package forwarder

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/sched"
)

// Count adds n connections in state s to a backend's load; other entries don't count.
func Count(l *sched.Load, s flow.State, n int64) {
	switch {
	case !s.Counted():
	case s.Active():
		l.Add(n, 0)
	default:
		l.Add(0, n)
	}
}

// WorkerConfig is what a worker works with. It owns nothing of it.
type WorkerConfig struct {
	Receiver pktio.Receiver // from the clients
	Servers  pktio.Sender   // towards the real servers
	Clients  pktio.Sender   // back to the clients, for replies of the director
	Table    *flow.Table
	Snapshot *atomic.Pointer[Snapshot] // never nil inside
	Now      func() flow.Tick
	// Index of Count workers: each sweeps its own part of the table.
	Index, Count int
	Feed         *flow.Feed   // told of new and changed connections; may be nil
	Log          *slog.Logger // nil: silent
}

// Worker moves the frames of one receive queue.
type Worker struct {
	cfg      WorkerConfig
	core     *Core
	counters Counters
	round    atomic.Uint64 // odd while a batch is decided about
	emptied  atomic.Uint64 // times that no frame was there

	snap      *Snapshot
	rx        pktio.Batch
	servers   pktio.Batch
	clients   pktio.Batch
	sweepAt   int
	sweptAt   flow.Tick
	published flow.Tick
}

// NewWorker prepares a worker; Run starts it.
func NewWorker(cfg WorkerConfig) *Worker {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &Worker{cfg: cfg, core: NewCore(cfg.Table)}
	w.core.feed, w.core.newest = cfg.Feed, cfg.Snapshot
	return w
}

// Counters returns the worker's verdicts by reason, about a tenth of a second old.
func (w *Worker) Counters() *Counters { return &w.counters }

// Round is odd while the worker decides about a batch of frames. Once it was even, or
// another number, after a Snapshot was stored, all that the worker still does by
// the one before is over, and its Feed has been told of it.
func (w *Worker) Round() uint64 { return w.round.Load() }

// Emptied counts how often the worker looked for frames, for 50 ms, and there were
// none. Once it has moved on after a filter was set that lets nothing in, all that
// came before has been forwarded.
func (w *Worker) Emptied() uint64 { return w.emptied.Load() }

const (
	idleWait    = 50   // ms a receive waits before the worker looks round
	publishGap  = 100  // ms between additions to the shared counters
	sweepPeriod = 4000 // ms in which a worker walks its part of the table
	// At most so many buckets are swept after a full batch (more wait), after any
	// other batch, and in a quiet moment.
	sweepBusy = 64
	sweepSome = 512
	sweepIdle = 8192
)

// Run moves frames until ctx ends or the receiver or a sender fails for good. It
// keeps its goroutine on one thread.
func (w *Worker) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, w.cfg.Receiver.Interrupt)
	defer stop()
	defer w.core.books.publish(&w.counters)
	part := w.cfg.Table.Buckets() / w.cfg.Count
	w.sweepAt = part * w.cfg.Index
	w.sweptAt = w.cfg.Now()
	w.published = w.sweptAt
	for ctx.Err() == nil {
		switch err := w.step(idleWait); {
		case err == nil:
		case errors.Is(err, pktio.ErrDown): // once each time; it may come back
			w.cfg.Log.Warn("nothing is received until the client device is up again", "worker", w.cfg.Index, "err", err)
		case errors.Is(err, pktio.ErrClosed) && ctx.Err() != nil:
			return nil
		default:
			return err
		}
	}
	return nil
}

// step does one round: receive, decide, send, release, tidy up.
func (w *Worker) step(wait int) error {
	if err := w.cfg.Receiver.Recv(&w.rx, wait); err != nil {
		return err
	}
	n := w.rx.N // Release empties the batch
	if n == 0 {
		w.emptied.Add(1)
	} else {
		w.round.Add(1) // before the Snapshot is loaded
	}
	now := w.cfg.Now()
	if s := w.cfg.Snapshot.Load(); s != w.snap {
		w.core.books.publish(&w.counters)
		w.snap, w.core.snap = s, s
	}
	var err error
	if n > 0 {
		w.core.Process(&w.rx, &w.servers, &w.clients, w.snap, now)
		w.round.Add(1)
		if w.servers.N > 0 {
			err = w.cfg.Servers.Send(&w.servers)
		}
		if w.clients.N > 0 && err == nil {
			err = w.cfg.Clients.Send(&w.clients)
		}
		w.cfg.Receiver.Release(&w.rx)
	}
	w.tidy(now, n)
	return err
}

// tidy publishes counters and sweeps as much of the worker's part of the table as
// the time since the last sweep is worth. n is the number of frames just moved.
func (w *Worker) tidy(now flow.Tick, n int) {
	if n == 0 || w.published.Until(now) >= publishGap {
		w.core.books.publish(&w.counters)
		w.published = now
	}
	part := w.cfg.Table.Buckets() / w.cfg.Count
	due := int(w.sweptAt.Until(now)) * part / sweepPeriod
	if due <= 0 {
		return
	}
	limit := sweepSome
	switch n {
	case 0:
		limit = sweepIdle
	case pktio.BatchSize:
		limit = sweepBusy
	}
	if due > limit {
		due, w.sweptAt = limit, now // what is more than that is not made up for
	} else {
		w.sweptAt += flow.Tick(due * sweepPeriod / part) // the rest of a bucket stays due
	}
	w.core.now = now
	w.sweepAt = w.cfg.Table.Sweep(w.sweepAt, min(due, part+1), now, w.core)
}
