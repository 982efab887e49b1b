package health

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Config is what a Monitor is made with.
type Config struct {
	// Log gets one line for each change of a server's state. nil: none.
	Log *slog.Logger
	// MaxParallel bounds the checks that run at the same time, so that a farm of
	// dead servers does not eat the descriptors of the forwarder; 0: 1024. A check
	// that has to wait begins late, its timeout runs from its own beginning.
	MaxParallel int
	// RootCAs are the authorities for VerifyCertificate; nil: the system's.
	RootCAs *x509.CertPool
	// Probe makes one check; nil: Check. It gets the target with its defaults
	// filled in and a context that ends at the timeout, and must return soon after
	// that. For tests.
	Probe func(ctx context.Context, t Target) Result
}

// Monitor checks targets and remembers who is up. All methods may be called
// from any goroutine at any time.
type Monitor struct {
	log     *slog.Logger
	probe   func(context.Context, Target) Result
	slots   chan struct{}
	changes chan struct{}

	mu      sync.Mutex
	entries map[string]*entry
	run     *run // nil unless Run is running
}

// run is one call of Run.
type run struct {
	ctx   context.Context
	epoch time.Time // what the grid of the checks starts from
	wg    sync.WaitGroup
}

// New makes a Monitor without targets. It starts nothing.
func New(cfg Config) *Monitor {
	m := &Monitor{
		log:     cfg.Log,
		probe:   cfg.Probe,
		changes: make(chan struct{}, 1),
		entries: make(map[string]*entry),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.probe == nil {
		m.probe = func(ctx context.Context, t Target) Result { return Check(ctx, t, cfg.RootCAs) }
	}
	n := cfg.MaxParallel
	if n <= 0 {
		n = 1024
	}
	m.slots = make(chan struct{}, n)
	return m
}

// Run checks the targets until ctx ends, and returns nil after the last
// goroutine and check have ended. States are kept for a later Run. It is an
// error to call it while it runs.
func (m *Monitor) Run(ctx context.Context) error {
	r := &run{ctx: ctx, epoch: time.Now()}
	m.mu.Lock()
	if m.run != nil {
		m.mu.Unlock()
		return errors.New("health: Monitor.Run: already running; make one Monitor for each Run")
	}
	m.run = r
	for _, e := range m.entries {
		m.start(e)
	}
	m.mu.Unlock()

	<-ctx.Done()
	m.mu.Lock()
	m.run = nil // from here on Set starts nothing, so Wait sees every goroutine
	for _, e := range m.entries {
		e.stop()
	}
	m.mu.Unlock()
	r.wg.Wait()
	return nil
}

// Set says what to check from now on: all of it, each time. A target that is
// the same as before keeps its state and its schedule. A changed one has its
// check begun afresh (the old one is broken off, its counters in a row are
// forgotten) but stays up or down until the new check's rise or fall says
// otherwise. One that is gone is forgotten. A key given twice counts once, the
// first time. Set does not wait for anything.
func (m *Monitor) Set(targets []Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := make(map[string]bool, len(targets))
	changed := false
	for _, t := range targets {
		t = t.withDefaults()
		if wanted[t.Key] {
			m.log.Warn("health check target given twice, the second is ignored", "target", t.Key)
			continue
		}
		wanted[t.Key] = true
		e := m.entries[t.Key]
		if e != nil && e.target.equal(t) {
			continue
		}
		if e == nil {
			e = &entry{status: Status{Key: t.Key}}
			m.entries[t.Key] = e
		}
		e.stop()
		e.target = t
		e.state.streak = 0
		if t.Spec.Type == None {
			changed = m.record(e, passed("no check")) || changed
		} else {
			m.start(e)
		}
	}
	for key, e := range m.entries {
		if !wanted[key] {
			e.stop()
			delete(m.entries, key)
			changed = changed || e.state.known
		}
	}
	if changed {
		m.notify()
	}
}

// Changes returns a channel on which something comes after one or more servers
// went up or down, became known, or were removed. What happens while nobody
// reads comes as one. Every call returns the same channel; it is never closed.
func (m *Monitor) Changes() <-chan struct{} { return m.changes }

func (m *Monitor) notify() {
	select {
	case m.changes <- struct{}{}:
	default:
	}
}

// Up tells whether the target of that key is up, and whether anything is known
// of it yet. Both are false for a key that was not Set.
func (m *Monitor) Up(key string) (up, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e == nil {
		return false, false
	}
	return e.state.up, e.state.known
}

// Status returns what is known of every target, sorted by key. The slice is the
// caller's.
func (m *Monitor) Status() []Status {
	m.mu.Lock()
	all := make([]Status, 0, len(m.entries))
	for _, e := range m.entries {
		s := e.status
		s.Up, s.Known, s.Streak = e.state.up, e.state.known, e.state.streak
		all = append(all, s)
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Key, b.Key) })
	return all
}
