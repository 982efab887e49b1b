package sched

import (
	"math/rand/v2"
	"sync"
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

// TestLoadNeverStuck has goroutines race around the threshold: whatever they do,
// an empty backend is open in the end.
func TestLoadNeverStuck(t *testing.T) {
	for range 300 {
		var l Load
		l.SetThresholds(2, 0)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					n := rand.Int64N(3)
					l.Add(0, n)
					l.Add(n, -n)
					l.Add(-n, 0)
				}
			})
		}
		wg.Wait()
		if l.Active() != 0 || l.Inactive() != 0 || l.Overloaded() {
			t.Fatalf("left with %d, %d, overloaded %t", l.Active(), l.Inactive(), l.Overloaded())
		}
	}
}
