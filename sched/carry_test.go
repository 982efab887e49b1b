package sched

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// picks returns the IDs of the next n picks, without the network part.
func picks(s Scheduler, bs []Backend, n int) (ids string) {
	for range n {
		if i := s.Pick(to(vip)); i == None {
			ids += "-"
		} else {
			ids += bs[i].ID[len("192.168.2."):]
		}
	}
	return ids
}

func TestRRGoesOn(t *testing.T) {
	all := farm(1, 1, 1, 1)
	without := func(gone ...int) []Backend {
		var bs []Backend
		for i, b := range all {
			if !slices.Contains(gone, i+1) {
				bs = append(bs, b)
			}
		}
		return bs
	}
	for _, c := range []struct {
		name   string
		before int // picks before the reload
		after  []Backend
		want   string
	}{
		{"nothing changed", 2, all, "3412"},
		{"none picked yet", 0, all, "1234"},
		{"another left", 2, without(4), "3123"},
		{"the next left", 2, without(3), "4124"},
		{"the last picked left", 2, without(2), "3413"},
		{"it and those before left", 3, without(1, 2, 3), "4444"},
		{"other order", 2, []Backend{all[1], all[0], all[3], all[2]}, "1432"},
		{"nobody left", 2, nil, "----"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := mustNew(t, Config{Name: "rr"}, all, nil)
			picks(old, all, c.before)
			s := mustNew(t, Config{Name: "rr"}, c.after, old)
			if got := picks(s, c.after, 4); got != c.want {
				t.Errorf("picks %s, want %s", got, c.want)
			}
		})
	}
}

// TestReloadChangesNothing: a scheduler made anew over the same backends before
// each pick picks as one that never was.
func TestReloadChangesNothing(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		if cfg.Name == "twos" {
			t.Skip("twos draws lots")
		}
		cfg.TableSize = 1021 // mh is made anew 200 times
		bs, plainBs := farm(5, 1, 3, 0, 2), farm(5, 1, 3, 0, 2)
		s, plain := mustNew(t, cfg, bs, nil), mustNew(t, cfg, plainBs, nil)
		for n := range uint32(200) {
			s = mustNew(t, cfg, slices.Clone(bs), s)
			f := flow4(n % 20)
			got, want := s.Pick(f), plain.Pick(f)
			if got != want {
				t.Fatalf("pick %d: %d after a reload, %d without", n, got, want)
			}
			if got != None {
				bs[got].Load.Add(1, 0)
				plainBs[got].Load.Add(1, 0)
			}
		}
	})
}

func TestWRRGoesOn(t *testing.T) {
	bs := farm(2, 3, 4)
	old := mustNew(t, Config{Name: "wrr"}, bs, nil)
	if got := picks(old, bs, 5); got != "12332" { // in the pass that requires 3
		t.Fatalf("picks %s", got)
	}
	// The heaviest loses weight: what is required cannot be above the top.
	less := farm(2, 2, 1)
	s := mustNew(t, Config{Name: "wrr"}, less, old)
	if got, want := picks(s, less, 6), "123121"; got != want {
		t.Errorf("picks %s, want %s", got, want)
	}
	// From nobody at all it is as at first.
	none := mustNew(t, Config{Name: "wrr"}, farm(0, 0, 0), old)
	s = mustNew(t, Config{Name: "wrr"}, bs, none)
	if got, want := picks(s, bs, 4), "1233"; got != want {
		t.Errorf("picks %s, want %s", got, want)
	}
}

// TestLocalityGoesOn: destinations stay with their servers by ID, and forget those
// that are gone.
func TestLocalityGoesOn(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bs := farm(50, 50, 50)
				old := mustNew(t, Config{Name: name}, bs, nil)
				for i := range 3 {
					wantPick(t, old, to(fmt.Sprint("192.168.1.", i)), i)
					bs[i].Load.Add(1, 0)
				}
				time.Sleep(20 * time.Hour)
				after := []Backend{{ID: "new", Weight: 50, Load: new(Load)}, bs[2], bs[0]}
				s := mustNew(t, Config{Name: name}, after, old)
				wantPick(t, s, to("192.168.1.0"), 2)
				wantPick(t, s, to("192.168.1.1"), 0) // its server is gone
				after[0].Load.Add(5, 0)
				// How long a destination was unused counts over reloads.
				time.Sleep(4 * time.Hour)
				wantPick(t, s, to("192.168.1.0"), 2)
				bs[2].Load.Add(10, 0)
				wantPick(t, s, to("192.168.1.2"), 2)
				// The old one is as it was.
				if got := old.Peek(to("192.168.1.0")); got == None {
					t.Error("the old scheduler lost its servers")
				}
			})
		})
	}
}

// TestOtherNameBeginsAfresh: state of another scheduler is not looked at.
func TestOtherNameBeginsAfresh(t *testing.T) {
	bs := farm(1, 2)
	for _, from := range Names() {
		old := mustNew(t, Config{Name: from}, bs, nil)
		old.Pick(flow4(1))
		for _, name := range Names() {
			s := mustNew(t, Config{Name: name}, bs, old)
			if from != name && (name == "rr" || name == "wrr") {
				if i := s.Pick(flow4(1)); i != 0 {
					t.Errorf("%s after %s begins with %d", name, from, i)
				}
			}
		}
	}
}
