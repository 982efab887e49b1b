package pair

import (
	"slices"
	"testing"
	"time"
)

func sorted(all []role) []role {
	return slices.SortedStableFunc(slices.Values(all), func(a, b role) int { return a.at.Compare(b.at) })
}

// reigns returns the longest time in [from, to] in which no director was active,
// and the longest in which both were.
func reigns(all []role, from, to time.Time) (none, both time.Duration) {
	var active [2]bool
	count := func() (n int) {
		for _, a := range active {
			if a {
				n++
			}
		}
		return n
	}
	noneAt, bothAt := from, from
	settle := func(at time.Time, before int) {
		if at.Before(from) {
			at = from
		}
		now := count()
		if before == 0 && now != 0 {
			none = max(none, at.Sub(noneAt))
		}
		if before == 2 && now != 2 {
			both = max(both, at.Sub(bothAt))
		}
		if before != 0 && now == 0 {
			noneAt = at
		}
		if before != 2 && now == 2 {
			bothAt = at
		}
	}
	for _, e := range all {
		if e.at.After(to) {
			break
		}
		if e.stalled {
			continue
		}
		before := count()
		active[e.who] = e.active
		settle(e.at, before)
	}
	if last := count(); last != 1 {
		active = [2]bool{last == 0, false}
		settle(to, last)
	}
	return none, both
}

func TestReigns(t *testing.T) {
	t0 := time.Now()
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	var all []role
	for _, e := range []struct {
		ms, who int
		active  bool
	}{{0, 0, false}, {10, 1, false}, {20, 0, true}, {100, 1, true}, {130, 0, false}, {200, 1, false}, {250, 0, true}} {
		all = append(all, role{at: at(e.ms), who: e.who, active: e.active})
	}
	for _, c := range []struct {
		from, to   int
		none, both time.Duration
	}{
		{0, 300, 50, 30}, {0, 90, 20, 0}, {110, 120, 0, 10}, {110, 190, 0, 20}, {210, 240, 30, 0}, {150, 190, 0, 0}, {190, 1000, 50, 0},
	} {
		none, both := reigns(all, at(c.from), at(c.to))
		if none != c.none*time.Millisecond || both != c.both*time.Millisecond {
			t.Errorf("%d to %d: none %v, both %v, want %d, %d", c.from, c.to, none, both, c.none, c.both)
		}
	}
}
