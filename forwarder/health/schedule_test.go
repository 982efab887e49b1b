package health

import (
	"fmt"
	"testing"
	"time"
)

// The same key always gets the same place, and many keys fill the interval evenly.
func TestPhaseSpreads(t *testing.T) {
	const interval, keys, bins = 2 * time.Second, 10000, 20
	var count [bins]int
	for i := range keys {
		key := fmt.Sprintf("web/eps%d", i)
		p := phase(key, interval)
		if p < 0 || p >= interval || p != phase(key, interval) {
			t.Fatalf("phase of %s is %v", key, p)
		}
		count[p*bins/interval]++
	}
	for i, n := range count {
		if n < keys/bins*8/10 || n > keys/bins*12/10 {
			t.Errorf("bin %d of %d holds %d of %d keys, want about %d", i, bins, n, keys, keys/bins)
		}
	}
	// Pinned, so that nobody changes the hash without noticing.
	if got := phase("web/eps1", time.Second); got != 909796432 {
		t.Errorf("phase of web/eps1 in 1 s: %d", got)
	}
}

func TestNextDue(t *testing.T) {
	const interval = 2 * time.Second
	epoch := time.Unix(1000, 0)
	for _, key := range []string{"web/eps1", "web/eps2", "dns/eps9", ""} {
		grid := epoch.Add(phase(key, interval))
		for _, tt := range []struct {
			name        string
			begun, want time.Duration // from the grid's first point
		}{
			{"on the grid", 0, interval},
			{"on a later point", 6 * time.Second, 8 * time.Second},
			{"a little late", 100 * time.Millisecond, 2 * time.Second},
			{"late by less than half", 999 * time.Millisecond, 2 * time.Second},
			{"late by half leaves the next point out", time.Second, 4 * time.Second},
			{"late by more than half", 1500 * time.Millisecond, 4 * time.Second},
			{"just before the grid begins", -10 * time.Millisecond, 2 * time.Second},
			{"long before the grid begins", -1500 * time.Millisecond, 0},
		} {
			if got := nextDue(epoch, grid.Add(tt.begun), key, interval).Sub(grid); got != tt.want {
				t.Errorf("%q, %s: begun at %v, next at %v, want %v", key, tt.name, tt.begun, got, tt.want)
			}
		}
	}
}

// Whatever the delays, two checks begin at least half and at most one and a
// half intervals apart, not counting the delay itself.
func TestNextDueGaps(t *testing.T) {
	const interval = 700 * time.Millisecond
	epoch := time.Unix(1000, 0)
	for delay := time.Duration(0); delay < 3*interval; delay += 13 * time.Millisecond {
		for i := range 20 {
			key := fmt.Sprint(i)
			begun := firstDue(epoch.Add(delay), key, interval).Add(delay)
			if gap := nextDue(epoch, begun, key, interval).Sub(begun); gap <= interval/2 || gap > interval*3/2 {
				t.Fatalf("key %s, delay %v: gap %v", key, delay, gap)
			}
		}
	}
}

func TestFirstDue(t *testing.T) {
	now := time.Unix(1000, 0)
	for i := range 100 {
		key := fmt.Sprint(i)
		if d := firstDue(now, key, time.Minute).Sub(now); d < 0 || d >= time.Second {
			t.Errorf("first check of %s after %v, want less than 1 s whatever the interval", key, d)
		}
		if d := firstDue(now, key, 100*time.Millisecond).Sub(now); d < 0 || d >= 100*time.Millisecond {
			t.Errorf("first check of %s after %v, want less than the interval", key, d)
		}
	}
}
