package health

import (
	"context"
	"time"
)

// Status is what the Monitor knows of one target.
type Status struct {
	Key         string
	Up          bool
	Known       bool          // false: no result yet, Up says nothing
	Since       time.Time     // when Up or Known changed last; zero while not Known
	LastCheck   time.Time     // when the last check ended; zero: never
	LastResult  string        // what it found, such as "connection refused"
	LastOutcome Outcome       // Unsure also before the first check
	LastLatency time.Duration // how long it took
	Streak      int           // results in a row that contradict Up; a change is near
	// Since the target was Set first:
	Passes, Failures, Unsure uint64 // checks by outcome
	Transitions              uint64 // changes from up to down or back
}

// entry is one target inside a Monitor, guarded by Monitor.mu.
type entry struct {
	target Target
	state  state
	status Status
	watch  *watch // the goroutine that checks it, nil if there is none
	// ended is closed when the last watch before has come to its end.
	ended <-chan struct{}
}

// watch is the one goroutine that checks a target until its spec changes.
type watch struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// stop ends the entry's watch; it does not wait for it.
func (e *entry) stop() {
	if e.watch != nil {
		e.watch.cancel()
		e.ended = e.watch.done
		e.watch = nil
	}
}

// start begins to check e, if Run is running. Called with mu held.
func (m *Monitor) start(e *entry) {
	if m.run == nil || e.target.Spec.Type == None {
		return
	}
	ctx, cancel := context.WithCancel(m.run.ctx)
	w := &watch{cancel: cancel, done: make(chan struct{})}
	e.watch = w
	t, epoch, before := e.target, m.run.epoch, e.ended
	m.run.wg.Go(func() {
		defer close(w.done)
		defer cancel()
		if before != nil {
			<-before // never two checks of one target at a time
		}
		m.loop(ctx, e, w, t, epoch)
	})
}

// loop checks t on its schedule until ctx ends.
func (m *Monitor) loop(ctx context.Context, e *entry, w *watch, t Target, epoch time.Time) {
	timer := time.NewTimer(time.Until(firstDue(time.Now(), t.Key, t.Spec.Interval)))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case m.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		begun := time.Now()
		r := m.once(ctx, t)
		<-m.slots
		if ctx.Err() != nil {
			return // broken off: says nothing about the server
		}
		m.report(e, w, r)
		timer.Reset(time.Until(nextDue(epoch, begun, t.Key, t.Spec.Interval)))
	}
}

func (m *Monitor) once(ctx context.Context, t Target) Result {
	ctx, cancel := context.WithTimeout(ctx, t.Spec.Timeout)
	defer cancel()
	return m.probe(ctx, t)
}

// report takes the result of w's check in, unless Set has ended w meanwhile.
func (m *Monitor) report(e *entry, w *watch, r Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.watch != w {
		return
	}
	if m.record(e, r) {
		m.notify()
	}
}

// record counts one result and tells whether the state changed. Called with mu
// held.
func (m *Monitor) record(e *entry, r Result) (changed bool) {
	s := &e.status
	repeated := s.LastOutcome == r.Outcome && s.LastResult == r.Text
	s.LastCheck, s.LastResult, s.LastOutcome, s.LastLatency = time.Now(), r.Text, r.Outcome, r.Latency
	switch r.Outcome {
	case Pass:
		s.Passes++
	case Fail:
		s.Failures++
	default:
		s.Unsure++
		if !repeated {
			m.log.Warn("health check could not be made, the server keeps its state", "target", s.Key, "result", r.Text)
			if r.stack != "" {
				m.log.Error("health check panicked", "target", s.Key, "stack", r.stack)
			}
		}
		return false
	}
	before, rise := e.state, e.target.Spec.Rise
	if e.target.Spec.Type == None {
		rise = 1 // there will be no second result
	}
	if e.state, changed = before.next(r.Outcome == Pass, rise, e.target.Spec.Fall); !changed {
		return false
	}
	s.Since = s.LastCheck
	if before.known {
		s.Transitions++
	}
	if e.state.up {
		m.log.Info("server is up", "target", s.Key, "result", r.Text)
	} else {
		m.log.Warn("server is down", "target", s.Key, "result", r.Text)
	}
	return true
}
