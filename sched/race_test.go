package sched

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestConcurrent has workers pick while loads change and reloads happen; the race
// detector looks on.
func TestConcurrent(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		bs := farm(1, 2, 0, 3, 10)
		var current atomic.Pointer[Scheduler]
		s := mustNew(t, cfg, bs, nil)
		current.Store(&s)
		var wg sync.WaitGroup
		for w := range uint32(4) {
			wg.Go(func() {
				for n := range uint32(2000) {
					s := *current.Load()
					f := flow4(n*4 + w)
					s.Peek(f)
					i := s.Pick(f)
					if i == None {
						continue
					}
					if bs[i].Weight == 0 {
						t.Errorf("picked the quiesced one")
						return
					}
					bs[i].Load.Add(0, 1)
					bs[i].Load.Add(1, -1)
					if n%3 > 0 {
						bs[i].Load.Add(-1, 0)
					}
				}
			})
		}
		reloads := 100
		if cfg.Name == "mh" {
			reloads = 5 // tables take long under the race detector
		}
		for n := range reloads {
			bs[n%5].Load.SetThresholds(int64(n%4)*50, 0)
			next, err := New(cfg, bs, *current.Load())
			if err != nil {
				t.Error(err)
				break
			}
			current.Store(&next)
		}
		wg.Wait()
	})
}

// TestConcurrentRounds: many workers together take exact turns.
func TestConcurrentRounds(t *testing.T) {
	for _, name := range []string{"rr", "wrr"} {
		ws := []int{1, 2, 3, 4}
		s := mustNew(t, Config{Name: name}, farm(ws...), nil)
		var got [4]atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 1000 {
					got[s.Pick(nil)].Add(1)
				}
			})
		}
		wg.Wait()
		for i, w := range ws {
			want := int64(1000)
			if name == "wrr" {
				want = int64(w) * 400
			}
			if n := got[i].Load(); n != want {
				t.Errorf("%s: server %d got %d of 4000, want %d", name, i, n, want)
			}
		}
	}
}

// TestConcurrentLearning: workers that learn one destination at once all know the
// same server afterwards, and the count of destinations is right.
func TestConcurrentLearning(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		bs := farm(1, 1, 1)
		s := mustNew(t, Config{Name: name}, bs, nil)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for n := range uint32(3000) {
					if i := s.Pick(flow4(n)); i == None {
						t.Error("None")
						return
					}
				}
			})
		}
		wg.Wait()
		var known *locality
		switch s := s.(type) {
		case *lblc:
			known = s.known
		case *lblcr:
			known = s.known
		}
		held := 0
		for i := range known.buckets {
			held += known.buckets[i].Load().len()
		}
		if held != 3000 || known.entries.Load() != 3000 {
			t.Errorf("%s holds %d destinations, counts %d, want 3000", name, held, known.entries.Load())
		}
	}
}
