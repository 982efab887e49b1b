package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake answers checks from a table and notes when they begin. It runs inside a
// synctest bubble, where time is exact.
type fake struct {
	mu       sync.Mutex
	epoch    time.Time
	answers  map[string]Result
	takes    map[string]time.Duration
	begun    map[string][]time.Duration
	running  map[string]int
	most     int // checks at the same time, all keys
	overlaps int // checks of one key at the same time
	broken   int // checks that the context ended
}

func newFake() *fake {
	return &fake{epoch: time.Now(), answers: map[string]Result{}, takes: map[string]time.Duration{},
		begun: map[string][]time.Duration{}, running: map[string]int{}}
}

func (f *fake) probe(ctx context.Context, t Target) Result {
	f.mu.Lock()
	f.begun[t.Key] = append(f.begun[t.Key], time.Since(f.epoch))
	f.running[t.Key]++
	all := 0
	for _, n := range f.running {
		all += n
		if n > 1 {
			f.overlaps++
		}
	}
	f.most = max(f.most, all)
	takes, answer := f.takes[t.Key], f.answers[t.Key]
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.running[t.Key]--; f.mu.Unlock() }()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			f.mu.Lock()
			f.broken++
			f.mu.Unlock()
			return failed("timeout")
		}
	}
	return answer
}

func (f *fake) set(key string, r Result) { f.mu.Lock(); f.answers[key] = r; f.mu.Unlock() }

func (f *fake) count(key string) int { return len(f.starts(key)) }

// starts returns when the checks of key began, since the fake was made.
func (f *fake) starts(key string) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.begun[key])
}

// counted returns the numbers of all checks.
func (f *fake) counted() (most, overlaps, broken int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most, f.overlaps, f.broken
}

// running runs f inside a bubble with a Monitor that is running, and sees to it
// that Run ends with every goroutine (else the bubble reports a deadlock).
func running(t *testing.T, cfg Config, f func(t *testing.T, m *Monitor, p *fake)) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		cfg.Probe = p.probe
		m := New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		synctest.Wait()
		f(t, m, p)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, overlaps, _ := p.counted(); overlaps > 0 {
			t.Errorf("%d checks of a target began while another of it was running", overlaps)
		}
	})
}

func target(key string) Target {
	return Target{Key: key, Spec: Spec{Type: TCP, Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3}}
}

func state1(t *testing.T, m *Monitor, key string) Status {
	t.Helper()
	synctest.Wait()
	for _, s := range m.Status() {
		if s.Key == key {
			return s
		}
	}
	t.Fatalf("no status of %q", key)
	return Status{}
}

func changed(m *Monitor) bool {
	synctest.Wait()
	select {
	case <-m.Changes():
		return true
	default:
		return false
	}
}

func TestMonitorFirstRiseFall(t *testing.T) {
	running(t, Config{}, func(t *testing.T, m *Monitor, p *fake) {
		p.set("a", passed("fine"))
		m.Set([]Target{target("a")})
		if up, known := m.Up("a"); up || known {
			t.Errorf("before the first check: up %v, known %v", up, known)
		}
		time.Sleep(time.Second)
		if s := state1(t, m, "a"); !s.Up || !s.Known || s.Passes != 1 || s.LastResult != "fine" || s.Transitions != 0 || s.Since.IsZero() {
			t.Errorf("after 1 s: %+v", s)
		}
		if !changed(m) {
			t.Error("becoming known is a change")
		}
		since := state1(t, m, "a").Since
		p.set("a", failed("dead"))
		at := p.starts("a")[0]
		grid := phase("a", 2*time.Second)
		second := grid
		if second <= at+time.Second {
			second += 2 * time.Second
		}
		// Two failures leave it up, the third, two intervals later, does not.
		time.Sleep(second + 4*time.Second - time.Millisecond - time.Since(p.epoch))
		if s := state1(t, m, "a"); !s.Up || s.Streak != 2 || s.Failures != 2 || s.LastResult != "dead" || s.Since != since {
			t.Errorf("after two failures: %+v", s)
		}
		if changed(m) {
			t.Error("nothing changed yet")
		}
		time.Sleep(time.Millisecond)
		if s := state1(t, m, "a"); s.Up || s.Streak != 0 || s.Failures != 3 || s.Transitions != 1 || s.Since != p.epoch.Add(second+4*time.Second) {
			t.Errorf("after three failures: %+v", s)
		}
		if !changed(m) {
			t.Error("going down is a change")
		}
		p.set("a", passed("fine"))
		time.Sleep(4 * time.Second)
		if s := state1(t, m, "a"); !s.Up || s.Transitions != 2 {
			t.Errorf("after two passes: %+v", s)
		}
	})
}

// A hundred dead servers: every check takes its whole timeout, which is the
// whole interval, and still none overlaps or is left out.
func TestMonitorTimeoutsDoNotPileUp(t *testing.T) {
	running(t, Config{}, func(t *testing.T, m *Monitor, p *fake) {
		var all []Target
		for i := range 100 {
			x := target(fmt.Sprint("t", i))
			x.Spec.Timeout = 5 * time.Second // cut to the interval
			p.takes[x.Key] = time.Hour
			all = append(all, x)
		}
		m.Set(all)
		time.Sleep(60*time.Second + 500*time.Millisecond)
		synctest.Wait()
		for _, x := range all {
			if n := p.count(x.Key); n < 29 || n > 32 {
				t.Errorf("%s: %d checks in 60 s at 2 s, want about 30", x.Key, n)
			}
			if s := state1(t, m, x.Key); s.Up || !s.Known {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestMonitorMaxParallel(t *testing.T) {
	running(t, Config{MaxParallel: 3}, func(t *testing.T, m *Monitor, p *fake) {
		var all []Target
		for i := range 20 {
			x := target(fmt.Sprint("t", i))
			p.takes[x.Key] = 200 * time.Millisecond
			p.answers[x.Key] = passed("ok")
			all = append(all, x)
		}
		m.Set(all)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if most, _, _ := p.counted(); most != 3 {
			t.Errorf("at most %d checks at a time, want 3", most)
		}
		for _, x := range all {
			if s := state1(t, m, x.Key); !s.Up {
				t.Errorf("waiting for a slot must not count against the server: %+v", s)
			}
		}
	})
}

func TestMonitorSet(t *testing.T) {
	running(t, Config{}, func(t *testing.T, m *Monitor, p *fake) {
		for _, k := range []string{"keep", "change", "gone"} {
			p.set(k, passed("ok"))
		}
		m.Set([]Target{target("keep"), target("change"), target("gone"), target("keep")})
		time.Sleep(9 * time.Second)
		changed(m)
		keep := p.starts("keep")
		before := state1(t, m, "change")

		p.set("change", failed("new check says no"))
		next := target("change")
		next.Spec.Path = "/new"
		m.Set([]Target{target("keep"), next})
		if _, known := m.Up("gone"); known {
			t.Error("a removed target is still known")
		}
		if !changed(m) {
			t.Error("a removal is a change")
		}
		if s := state1(t, m, "change"); !s.Up || s.Since != before.Since || s.Passes != before.Passes {
			t.Errorf("a new spec must not change the state: %+v, before %+v", s, before)
		}
		gone := p.count("gone")
		time.Sleep(time.Second) // the new check's first result is there within one second
		if s := state1(t, m, "change"); !s.Up || s.Streak != 1 {
			t.Errorf("one failure of the new check takes nobody down: %+v", s)
		}
		time.Sleep(9 * time.Second)
		if s := state1(t, m, "change"); s.Up {
			t.Errorf("three do: %+v", s)
		}
		if n := p.count("gone"); n != gone {
			t.Errorf("a removed target was checked %d times more", n-gone)
		}
		// keep went on in its own rhythm.
		all := p.starts("keep")
		for i := len(keep); i < len(all); i++ {
			if gap := all[i] - all[i-1]; gap != 2*time.Second {
				t.Errorf("gap %v after Set left keep as it was", gap)
			}
		}
		m.Set(nil)
		if s := m.Status(); len(s) != 0 {
			t.Errorf("after Set(nil): %+v", s)
		}
	})
}

// Set breaks a check off that is under way; what it would have said is not heard.
func TestMonitorSetBreaksOff(t *testing.T) {
	running(t, Config{}, func(t *testing.T, m *Monitor, p *fake) {
		p.takes["a"], p.answers["a"] = 900*time.Millisecond, failed("old")
		x := target("a")
		m.Set([]Target{x})
		time.Sleep(firstDue(p.epoch, "a", x.Spec.Interval).Sub(p.epoch) + time.Millisecond)
		synctest.Wait()
		if p.count("a") != 1 {
			t.Fatal("the check has not begun")
		}
		p.mu.Lock()
		p.takes["a"], p.answers["a"] = 0, passed("new")
		p.mu.Unlock()
		x.Mark = 7
		m.Set([]Target{x})
		time.Sleep(time.Second)
		if _, _, broken := p.counted(); broken != 1 {
			t.Errorf("%d checks broken off, want 1", broken)
		}
		if s := state1(t, m, "a"); !s.Up || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestMonitorNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		m := New(Config{Probe: p.probe})
		x := target("a")
		x.Spec.Type = None
		m.Set([]Target{x}) // no Run needed
		if up, known := m.Up("a"); !up || !known {
			t.Error("a target without a check is up at once")
		}
		if !changed(m) {
			t.Error("and that is a change")
		}
		ctx, cancel := context.WithCancel(t.Context())
		go m.Run(ctx)
		time.Sleep(time.Minute)
		if p.count("a") != 0 {
			t.Error("none is not probed")
		}
		// Down by a real check, then none: up at once again.
		p.set("a", failed("no"))
		m.Set([]Target{target("a")})
		time.Sleep(10 * time.Second)
		if s := state1(t, m, "a"); s.Up {
			t.Errorf("%+v", s)
		}
		m.Set([]Target{x})
		if s := state1(t, m, "a"); !s.Up || s.Transitions != 2 {
			t.Errorf("%+v", s)
		}
		cancel()
	})
}

func TestMonitorUnsureChangesNothing(t *testing.T) {
	running(t, Config{}, func(t *testing.T, m *Monitor, p *fake) {
		p.set("a", Result{Text: "not checked: too many open files"})
		m.Set([]Target{target("a")})
		time.Sleep(5 * time.Second)
		if s := state1(t, m, "a"); s.Known || s.Unsure < 2 {
			t.Errorf("unsure from the start: %+v", s)
		}
		p.set("a", passed("ok"))
		time.Sleep(2 * time.Second)
		p.set("a", failed("no"))
		time.Sleep(4 * time.Second) // two failures
		p.set("a", Result{Text: "not checked: too many open files"})
		time.Sleep(20 * time.Second)
		if s := state1(t, m, "a"); !s.Up || s.Streak != 2 || s.LastOutcome != Unsure {
			t.Errorf("unsure in between: %+v", s)
		}
		p.set("a", failed("no"))
		time.Sleep(2 * time.Second)
		if s := state1(t, m, "a"); s.Up {
			t.Errorf("third failure: %+v", s)
		}
	})
}

// Targets set before Run, and a second Run after the first, are checked; two
// at once are refused.
func TestMonitorRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		p.set("a", passed("ok"))
		m := New(Config{Probe: p.probe})
		m.Set([]Target{target("a")})
		for i := range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- m.Run(ctx) }()
			time.Sleep(10 * time.Second)
			if err := m.Run(ctx); err == nil {
				t.Error("a second Run at the same time must be refused")
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if n := p.count("a"); n < 5*(i+1) {
				t.Errorf("%d checks after run %d", n, i)
			}
		}
		n := p.count("a")
		time.Sleep(time.Minute)
		if p.count("a") != n {
			t.Error("checks go on after Run has ended")
		}
		if up, known := m.Up("a"); !up || !known {
			t.Error("the state outlives Run")
		}
	})
}

// Set, Status and Up from many goroutines while checks run; for -race.
func TestMonitorConcurrent(t *testing.T) {
	running(t, Config{MaxParallel: 4}, func(t *testing.T, m *Monitor, p *fake) {
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 50 {
					var all []Target
					for k := range 10 {
						if (i+k+g)%3 != 0 {
							x := target(fmt.Sprint(k))
							x.Spec.Interval = 50 * time.Millisecond * time.Duration(1+(i+g)%4)
							all = append(all, x)
						}
					}
					m.Set(all)
					m.Status()
					m.Up("3")
					time.Sleep(17 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.overlaps = 0 // keys removed and set again may overlap for the moment it takes to break off
	})
}
