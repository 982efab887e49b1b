package sched

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// variants are all schedulers, those with a flag that matters also with it.
func variants() map[string]Config {
	vs := map[string]Config{}
	for _, n := range Names() {
		vs[n] = Config{Name: n, Key: testKey}
	}
	for _, n := range []string{"sh", "mh"} {
		vs[n+" port"] = Config{Name: n, Key: testKey, Flags: []string{n + "-port"}}
		vs[n+" fallback"] = Config{Name: n, Key: testKey, Flags: []string{"fallback"}}
		vs[n+" port fallback"] = Config{Name: n, Key: testKey, Flags: []string{n + "-port", n + "-fallback"}}
	}
	return vs
}

func eachVariant(t *testing.T, f func(t *testing.T, cfg Config)) {
	for name, cfg := range variants() {
		t.Run(name, func(t *testing.T) { f(t, cfg) })
	}
}

func TestNobodyThere(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		closed := farm(3, 0, 2)
		overload(&closed[0])
		overload(&closed[2])
		for name, bs := range map[string][]Backend{"none": nil, "all quiesced": farm(0, 0, 0), "all closed": closed} {
			s := mustNew(t, cfg, bs, nil)
			for n := range uint32(300) {
				for _, f := range []*Flow{flow4(n), flow6(n), {}} {
					if i := s.Peek(f); i != None {
						t.Fatalf("%s: Peek = %d", name, i)
					}
					if i := s.Pick(f); i != None {
						t.Fatalf("%s: Pick = %d", name, i)
					}
				}
			}
		}
	})
}

// TestOnlyOpenOnes has servers close, open, fill and empty at random: none that
// is quiesced or overloaded is ever picked, and a scheduler that may go on to
// another server finds one whenever there is one.
func TestOnlyOpenOnes(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		rng := rand.New(rand.NewPCG(1, 2))
		for round := range 30 {
			n := 1 + rng.IntN(12)
			ws := make([]int, n)
			for i := range ws {
				ws[i] = rng.IntN(5)
			}
			bs := farm(ws...)
			s := mustNew(t, cfg, bs, nil)
			for step := range 400 {
				b := &bs[rng.IntN(n)]
				switch rng.IntN(6) {
				case 0:
					b.Load.SetThresholds(rng.Int64N(6), rng.Int64N(3))
				case 1:
					if b.Load.Active() > 0 {
						b.Load.Add(-1, 0)
					}
				}
				f := flow4(rng.Uint32N(2000))
				if step%2 == 0 {
					f = flow6(rng.Uint32N(2000))
				}
				i := s.Pick(f)
				if i == None {
					if open := openOnes(bs); open > 0 && mustFind(cfg) {
						t.Fatalf("round %d step %d: None, and %d are open", round, step, open)
					}
					continue
				}
				if bs[i].Weight == 0 || bs[i].Load.Overloaded() {
					t.Fatalf("round %d step %d: picked %d of weight %d, overloaded %t", round, step, i, bs[i].Weight, bs[i].Load.Overloaded())
				}
				bs[i].Load.Add(1, 0)
			}
		}
	})
}

func openOnes(bs []Backend) (n int) {
	for _, b := range bs {
		if b.Weight > 0 && !b.Load.Overloaded() {
			n++
		}
	}
	return n
}

// mustFind tells whether the scheduler, by IPVS's rules, finds an open server if
// there is one.
func mustFind(cfg Config) bool {
	switch cfg.Name {
	case "ovf", "dh":
		return false
	case "mh":
		return len(cfg.Flags) == 2 || len(cfg.Flags) == 1 && cfg.Flags[0] == "fallback"
	case "sh":
		return false // a server may have no bucket
	}
	return true
}

// TestPeek: Peek says what Pick does next, however often one peeks.
func TestPeek(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		if cfg.Name == "twos" {
			t.Skip("twos draws lots")
		}
		peeked, plain := farm(1, 0, 5, 2, 2), farm(1, 0, 5, 2, 2)
		a, b := mustNew(t, cfg, peeked, nil), mustNew(t, cfg, plain, nil)
		rng := rand.New(rand.NewPCG(3, 4))
		for step := range 2000 {
			f := flow4(rng.Uint32N(500))
			for range rng.IntN(3) {
				a.Peek(flow4(rng.Uint32N(500)))
			}
			want := a.Peek(f)
			if got := a.Pick(f); got != want {
				t.Fatalf("step %d: Peek %d, Pick %d", step, want, got)
			}
			if got := b.Pick(f); got != want {
				t.Fatalf("step %d: %d after peeking, %d without", step, want, got)
			}
			if want == None {
				continue
			}
			active := rng.Int64N(2)
			for _, bs := range [][]Backend{peeked, plain} {
				bs[want].Load.Add(active, 1-active)
				if step%97 == 0 {
					bs[2].Load.SetThresholds(bs[2].Load.Active(), 0)
				}
				if step%97 == 50 {
					bs[2].Load.SetThresholds(0, 0)
				}
			}
		}
	})
}

// TestWeights: without any load, shares are as the weights say.
func TestWeights(t *testing.T) {
	for _, name := range []string{"wrr", "mh", "twos"} {
		for _, ws := range [][]int{{1, 1}, {1, 1, 1}, {1, 2, 3, 4}, {5, 0, 1}, {100, 1, 50}, {7}, same(20, 3), {65535, 30000}} {
			t.Run(fmt.Sprint(name, ws), func(t *testing.T) {
				bs := farm(ws...)
				s := mustNew(t, Config{Name: name, Key: testKey}, bs, nil)
				total := 0
				for _, w := range ws {
					total += w
				}
				// Whole rounds of wrr: its order within one is not even.
				picks := 200_000
				if name == "wrr" {
					picks = max(1, picks/total) * total
				}
				got := make([]int, len(ws))
				for n := range picks {
					i := s.Pick(flow4(uint32(n)))
					if i == None {
						t.Fatal("None")
					}
					got[i]++
				}
				for i, w := range ws {
					want := float64(picks) * float64(w) / float64(total)
					// Five standard deviations of a fair draw, and 2 %.
					if diff := math.Abs(float64(got[i]) - want); diff > 0.02*want+5*math.Sqrt(want) || w == 0 && got[i] > 0 {
						t.Errorf("weight %d got %d of %d, want %.0f", w, got[i], picks, want)
					}
				}
			})
		}
	}
}

// TestTwosPrefersTheLighter: of two servers of equal weight the loaded one is
// drawn twice in a quarter of all cases, and then only.
func TestTwosPrefersTheLighter(t *testing.T) {
	bs := farm(1, 1)
	bs[0].Load.Add(10, 0)
	s := mustNew(t, Config{Name: "twos"}, bs, nil)
	const picks = 40_000
	heavy := 0
	for range picks {
		if s.Pick(&Flow{}) == 0 {
			heavy++
		}
	}
	if heavy < picks/4-600 || heavy > picks/4+600 {
		t.Errorf("the loaded server got %d of %d, want about a quarter", heavy, picks)
	}
}

// TestNoAllocation: a pick allocates nothing once its destination is known.
func TestNoAllocation(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		bs := farm(1, 2, 3, 0, 100)
		overload(&bs[4])
		s := mustNew(t, cfg, bs, nil)
		flows := []*Flow{flow4(1), flow4(2), flow6(3), flow6(4)}
		for _, f := range flows {
			s.Pick(f)
		}
		if n := testing.AllocsPerRun(200, func() {
			for _, f := range flows {
				s.Pick(f)
				s.Peek(f)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
