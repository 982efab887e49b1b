package sched

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

func TestLoadFillsOneCacheLine(t *testing.T) {
	if size := unsafe.Sizeof(Load{}); size != 64 {
		t.Errorf("a Load has %d bytes, want 64", size)
	}
}

func TestLoadCounts(t *testing.T) {
	var l Load
	check := func(active, inactive int64) {
		t.Helper()
		if l.Active() != active || l.Inactive() != inactive {
			t.Errorf("active %d, inactive %d; want %d, %d", l.Active(), l.Inactive(), active, inactive)
		}
	}
	check(0, 0)
	l.Add(0, 1)
	check(0, 1)
	l.Add(1, -1)
	check(1, 0)
	l.Add(0, -1) // overtook its +1
	check(1, -1)
	l.Add(0, 1)
	check(1, 0)
	l.Add(-1, 1)
	l.Add(0, -1)
	check(0, 0)
	l.Add(1<<30, 1<<30)
	check(1<<30, 1<<30)
	if got, want := l.overhead(), int64(1<<38+1<<30); got != want {
		t.Errorf("overhead %d, want %d", got, want)
	}
}

// TestLoadThresholds walks the total up and down and notes where the flag turns.
func TestLoadThresholds(t *testing.T) {
	for _, c := range []struct {
		name         string
		upper, lower int64
		on, off      int64 // totals at which it turns; 0: never
	}{
		{"no bound", 0, 0, 0, 0},
		{"lower alone means nothing", 0, 5, 0, 0},
		{"three quarters of 100", 100, 0, 100, 74},
		{"three quarters of 10, not a whole number", 10, 0, 10, 7},
		{"three quarters of 1", 1, 0, 1, 0},
		{"three quarters of 2", 2, 0, 2, 1},
		{"own lower bound", 10, 4, 10, 3},
		{"lower bound equals upper", 10, 10, 10, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l Load
			l.SetThresholds(c.upper, c.lower)
			if u, lo := l.Thresholds(); u != c.upper || lo != c.lower {
				t.Errorf("Thresholds() = %d, %d", u, lo)
			}
			var on, off int64 = 0, -1
			for total := int64(1); total <= 200; total++ {
				l.Add(total%2, 1-total%2)
				if l.Overloaded() && on == 0 {
					on = total
				}
				if on != 0 && !l.Overloaded() {
					t.Fatalf("open again at %d on the way up", total)
				}
			}
			for total := int64(199); total >= 0; total-- {
				if l.Active() > 0 {
					l.Add(-1, 0)
				} else {
					l.Add(0, -1)
				}
				if !l.Overloaded() && off < 0 {
					off = total
				}
			}
			if on == 0 {
				off = 0
			}
			if on != c.on || off != c.off {
				t.Errorf("closed at %d, open again at %d; want %d, %d", on, off, c.on, c.off)
			}
		})
	}
}

func TestLoadThresholdsJudgeAtOnce(t *testing.T) {
	var l Load
	l.Add(5, 5)
	for _, c := range []struct {
		upper, lower int64
		want         bool
	}{{10, 0, true}, {11, 0, true}, {20, 0, false}, {10, 0, true}, {0, 0, false}} {
		l.SetThresholds(c.upper, c.lower)
		if l.Overloaded() != c.want {
			t.Errorf("10 connections, bounds %d and %d: overloaded %t", c.upper, c.lower, l.Overloaded())
		}
	}
}

// TestLoadNeverStuck has one goroutine count a connection while another counts
// its end: whoever is slower, the empty backend is open in the end. Only how a race
// ends counts, so there are many, each begun at the same moment.
func TestLoadNeverStuck(t *testing.T) {
	const rounds = 50_000
	loads := make([]Load, rounds)
	var arrived atomic.Int64
	var wg sync.WaitGroup
	for _, change := range []int64{1, -1} {
		wg.Go(func() {
			for round := range loads {
				l := &loads[round]
				l.SetThresholds(1, 0)
				arrived.Add(1)
				for arrived.Load() < int64(2*round+2) {
					runtime.Gosched()
				}
				l.Add(change, 0)
			}
		})
	}
	wg.Wait()
	for round := range loads {
		if l := &loads[round]; l.Active() != 0 || l.Inactive() != 0 || l.Overloaded() {
			t.Fatalf("round %d left %d, %d, overloaded %t", round, l.Active(), l.Inactive(), l.Overloaded())
		}
	}
}
