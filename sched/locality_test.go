package sched

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func to(dst string) *Flow { return &Flow{Dst: netip.MustParseAddr(dst)} }

const vip, vip2, vip6 = "192.168.1.100", "192.168.1.101", "2001:db8::100"

func wantPick(t *testing.T, s Scheduler, f *Flow, want int) {
	t.Helper()
	if got := s.Peek(f); got != want {
		t.Errorf("Peek = %d, want %d", got, want)
	}
	if got := s.Pick(f); got != want {
		t.Errorf("Pick = %d, want %d", got, want)
	}
}

// TestLBLC: a destination stays where it is for the reasons that IPVS knows.
func TestLBLC(t *testing.T) {
	bs := farm(4, 4, 4, 0)
	s := mustNew(t, Config{Name: "lblc"}, bs, nil)
	wantPick(t, s, to(vip), 0)
	bs[0].Load.Add(4, 0)
	wantPick(t, s, to(vip), 0) // not more than its weight
	wantPick(t, s, to(vip2), 1)
	wantPick(t, s, to(vip6), 1)

	bs[0].Load.Add(1, 0)
	bs[1].Load.Add(2, 0)
	bs[2].Load.Add(2, 0)
	wantPick(t, s, to(vip), 0) // crowded, but nobody is half empty
	bs[2].Load.Add(-1, 0)
	wantPick(t, s, to(vip), 2) // now one is
	bs[0].Load.Add(-5, 0)
	wantPick(t, s, to(vip), 2) // and it stays there

	bs[2].Load.SetThresholds(1, 0)
	wantPick(t, s, to(vip), 0)
}

// TestLBLCR: the set grows when its best is crowded, and the latest is asked first.
func TestLBLCR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bs := farm(2, 2, 2)
		s := mustNew(t, Config{Name: "lblcr"}, bs, nil).(*lblcr)
		members := func() []int32 {
			return s.known.find(netip.MustParseAddr(vip), s.known.now()).set.Load().members
		}
		wantSet := func(want ...int32) {
			t.Helper()
			if got := members(); !slices.Equal(got, want) {
				t.Errorf("set %v, want %v", got, want)
			}
		}
		time.Sleep(2 * time.Hour)
		wantPick(t, s, to(vip), 0)
		bs[0].Load.Add(3, 0)
		wantPick(t, s, to(vip), 1)
		wantSet(1, 0)
		bs[0].Load.Add(-3, 0)
		wantPick(t, s, to(vip), 1) // a draw: the latest
		bs[1].Load.Add(1, 0)
		wantPick(t, s, to(vip), 0)
		bs[0].Load.Add(3, 0)
		bs[1].Load.Add(3, 0)
		wantPick(t, s, to(vip), 2)
		wantSet(2, 1, 0)

		// Used all day, unchanged all day, over a reload too: the busiest leaves,
		// once, even if it is overloaded.
		bs[1].Load.SetThresholds(1, 0)
		for range 24 {
			time.Sleep(time.Hour)
			s.Pick(to(vip))
			s = mustNew(t, Config{Name: "lblcr"}, bs, s).(*lblcr)
		}
		wantSet(2, 1, 0)
		time.Sleep(time.Hour)
		s.Pick(to(vip))
		bs[1].Load.SetThresholds(0, 0)
		wantSet(2, 0)
		s.Pick(to(vip))
		wantSet(2, 0)

		// None of the set is open: another joins, the set remains.
		overload(&bs[2])
		bs[0].Load.SetThresholds(1, 0)
		wantPick(t, s, to(vip), 1)
		wantSet(1, 2, 0)
	})
}

// TestLocalityForgets: a day without use, and a destination is scheduled afresh.
func TestLocalityForgets(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bs := farm(5, 5)
				s := mustNew(t, Config{Name: name}, bs, nil)
				wantPick(t, s, to(vip), 0)
				bs[0].Load.Add(1, 0)
				time.Sleep(23 * time.Hour)
				wantPick(t, s, to(vip), 0)
				time.Sleep(24*time.Hour - time.Second)
				s.Peek(to(vip)) // is no use
				time.Sleep(time.Second)
				wantPick(t, s, to(vip), 1)
			})
		})
	}
}

// TestLocalityBounded: more destinations than fit do not make the table grow, and
// it learns on; those unused for six minutes make room.
func TestLocalityBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bs := farm(1, 1)
		s := mustNew(t, Config{Name: "lblc"}, bs, nil).(*lblc)
		dst := func(n int) *Flow {
			return &Flow{Dst: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})}
		}
		held := func() (n int64) {
			for i := range s.known.buckets {
				n += int64(s.known.buckets[i].Load().len())
			}
			return n
		}
		for n := range localityMax + 5000 {
			s.Pick(dst(n))
			time.Sleep(time.Millisecond)
		}
		if n, counted := held(), s.known.entries.Load(); n != localityMax || counted != n {
			t.Fatalf("holds %d destinations, counts %d, want %d", n, counted, localityMax)
		}
		if s.known.find(dst(localityMax+4999).Dst, s.known.now()) == nil {
			t.Error("the latest is not there")
		}
		if s.known.find(dst(0).Dst, s.known.now()) != nil {
			t.Error("the oldest is still there")
		}
		time.Sleep(7 * time.Minute)
		s.Pick(dst(9_000_000))
		if n, counted := held(), s.known.entries.Load(); n != 1 || counted != n {
			t.Errorf("after seven quiet minutes it holds %d destinations, counts %d, want 1", n, counted)
		}
	})
}
