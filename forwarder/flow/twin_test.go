package flow

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// The slow twin: a map under a lock, with the same operations.
type twin struct {
	mu      sync.Mutex
	entries map[frame.Key]twinEntry
}

type twinEntry struct {
	meta     Meta // without version
	deadline Tick
}

func (w *twin) do(f func(m map[frame.Key]twinEntry)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.entries)
}

func plain(m Meta) Meta { return m & (1<<48 - 1) }

// TestTwin lets several goroutines work on the table and its twin. Each has keys
// of its own, for which the twin must be right at every moment, and all fight for
// some shared keys, for which the table must be consistent in the end.
func TestTwin(t *testing.T) {
	steps := 60_000
	if testing.Short() {
		steps = 10_000
	}
	for _, now := range []Tick{100_000, 50, 1<<32 - 50} {
		for _, capacity := range []int{400, 5000} {
			t.Run(fmt.Sprintf("now %d capacity %d", now, capacity), func(t *testing.T) {
				runTwin(t, capacity, now, steps/6)
			})
		}
	}
}

func runTwin(t *testing.T, capacity int, now Tick, steps int) {
	const workers, own, shared = 6, 120, 40
	table := newTable(t, capacity, 50)
	l := &ledger{}
	w := &twin{entries: map[frame.Key]twinEntry{}}
	var wg sync.WaitGroup
	for g := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), uint64(now)))
			for range steps {
				switch n := rng.IntN(100); {
				case n < 70:
					ownStep(t, table, w, l, rng, testKey(1000*(g+1)+rng.IntN(own)), now)
				case n < 95:
					sharedStep(table, l, rng, testKey(rng.IntN(shared)), now)
				case n < 99:
					table.Sweep(rng.IntN(table.Buckets()), 10, now, l)
				default:
					// Backend and key belong together: a mixture shows a torn read.
					table.Range(func(k *frame.Key, e Entry, _ Tick) bool {
						if e.Meta.Backend()>>4 != backendOf(*k)>>4 {
							t.Errorf("key %v shows up with another's backend", *k)
						}
						return true
					})
				}
				if got, most := table.Len(), capacity+workers; got > most || got < 0 {
					t.Errorf("Len %d", got)
				}
			}
		})
	}
	wg.Wait()
	table.Sweep(0, table.Buckets(), now, l)
	found := consistent(t, table, l)
	for k, e := range w.entries {
		if e.deadline.Until(now) >= 0 {
			if _, ok := found[k]; ok {
				t.Errorf("%v has outlived a sweep", k)
			}
		} else if got, ok := found[k]; !ok || plain(got.Meta) != e.meta || table.Deadline(got) != e.deadline {
			t.Errorf("%v: in the table %v %#x, in the twin %#x", k, ok, uint64(got.Meta), uint64(e.meta))
		}
		delete(found, k)
	}
	for k := range found {
		if uint32(k.SrcLo)&0xffffff >= 1000 {
			t.Errorf("%v is in the table alone", k)
		}
	}
}

// backendOf derives a backend from a key; the low four bits are free.
func backendOf(k frame.Key) uint32 { return uint32(k.SrcLo) << 4 }

var tcpStates = []State{Established, SynRecv, FinWait, TimeWait, Close}

// ownStep does something to a key that no other goroutine touches, other than to
// sweep it when it has expired.
func ownStep(t *testing.T, table *Table, w *twin, l *ledger, rng *rand.Rand, k frame.Key, now Tick) {
	h := table.Hash(&k)
	var want twinEntry
	var there bool
	w.do(func(m map[frame.Key]twinEntry) { want, there = m[k] })
	slots := []uint32{0}
	table.Guess([]uint64{h}, slots)
	e, ok := table.LookupAt(&k, h, slots[0])
	seen := []Seen{{}}
	table.Peek([]frame.Packet{{Key: k}}, slots, seen)
	expired := there && want.deadline.Until(now) >= 0
	switch {
	case !there && ok:
		t.Errorf("%v is there and should not be", k)
		return
	case there && !ok && !expired:
		t.Errorf("%v was put in, not removed, and is not found", k)
		return
	case ok && plain(e.Meta) != want.meta:
		t.Errorf("%v has meta %#x, want %#x", k, uint64(e.Meta), uint64(want.meta))
		return
	case ok && slots[0] == e.Slot && seen[0] != (Seen{e.Meta, want.deadline}) && !expired:
		t.Errorf("%v was seen as %v, want %#x until %d", k, seen[0], uint64(want.meta), want.deadline)
		return
	case !ok && seen[0].Meta.State() != Free && !expired || ok && !expired && seen[0].Meta != 0 && !table.Still(slots[0], e.Meta):
		t.Errorf("%v was seen as %v, and is %v", k, seen[0], ok)
		return
	}
	set := func(m Meta, d Tick) {
		w.do(func(entries map[frame.Key]twinEntry) { entries[k] = twinEntry{plain(m), d} })
	}
	forget := func() { w.do(func(m map[frame.Key]twinEntry) { delete(m, k) }) }
	state := tcpStates[rng.IntN(len(tcpStates))]
	if !ok {
		deadline := now + 1000 + Tick(rng.IntN(1000))
		if rng.IntN(4) == 0 {
			deadline = now - Tick(rng.IntN(1000))
		}
		m := MakeMeta(state, backendOf(k)|1)
		// In the twin first: somebody else's sweep may be quick.
		set(m, deadline)
		e, r := table.Insert(&k, h, m, deadline, now, l)
		switch r {
		case Inserted:
			if plain(e.Meta) != m {
				t.Errorf("Insert made %#x of %#x", uint64(e.Meta), uint64(m))
			}
		case Existed:
			t.Errorf("%v existed", k)
		default:
			forget()
		}
		return
	}
	switch rng.IntN(3) {
	case 0:
		if table.Remove(e, l) != true && !expired {
			t.Errorf("%v could not be removed", k)
		}
		if table.Remove(e, l) {
			t.Errorf("%v was removed twice", k)
		}
		forget()
	case 1:
		m := e.Meta.With(state)
		old := e
		if table.Update(&e, m, l) {
			set(m, want.deadline)
			if e.Meta != m {
				t.Error("Update does not renew the handle")
			}
			if old.Meta != m && table.Update(&old, m, l) {
				t.Error("Update works with an old handle")
			}
		} else if !expired {
			t.Errorf("%v could not be updated", k)
		} else {
			forget() // swept in between
		}
	case 2:
		if !expired { // else its slot may be another's by now
			d := now + 1000 + Tick(rng.IntN(1000))
			table.Extend(e, d)
			set(e.Meta, d)
		}
	}
}

// sharedStep does something to a key that everybody wants.
func sharedStep(table *Table, l *ledger, rng *rand.Rand, k frame.Key, now Tick) {
	h := table.Hash(&k)
	e, ok := table.Lookup(&k, h)
	if !ok {
		e, _ = table.Insert(&k, h, MakeMeta(SynRecv, backendOf(k)), now+1000, now, l)
	}
	if e.Meta == 0 {
		return
	}
	switch rng.IntN(3) {
	case 0:
		table.Remove(e, l)
	case 1:
		table.Update(&e, e.Meta.With(tcpStates[rng.IntN(len(tcpStates))]), l)
	}
}

// Many goroutines that insert one key at once end up with exactly one copy.
func TestSameKeyAtOnce(t *testing.T) {
	const workers = 8
	rounds := 4000
	if testing.Short() {
		rounds = 500
	}
	table := newTable(t, 100, 100)
	l := &ledger{}
	for round := range rounds {
		k := testKey(round % 3)
		h := table.Hash(&k)
		var start, done sync.WaitGroup
		start.Add(1)
		var results [workers]Result
		for g := range workers {
			done.Go(func() {
				start.Wait()
				_, results[g] = table.Insert(&k, h, MakeMeta(SynRecv, uint32(g)), 1000, 0, l)
			})
		}
		start.Done()
		done.Wait()
		inserted := 0
		for _, r := range results {
			if r == Inserted {
				inserted++
			} else if r != Existed {
				t.Fatalf("result %v", r)
			}
		}
		if inserted == 0 {
			t.Fatal("nobody inserted it")
		}
		if found := consistent(t, table, l); len(found) != 1 {
			t.Fatalf("%d entries", len(found))
		}
		e, _ := table.Lookup(&k, h)
		table.Remove(e, l)
	}
	consistent(t, table, l)
}

// A key that nobody removes is found all the time while its neighbours in the
// same two buckets come and go.
func TestNeverLost(t *testing.T) {
	table := newTable(t, 12, 100) // two lines of the directory: everything is a neighbour
	l := &ledger{}
	k := testKey(0)
	h := table.Hash(&k)
	if _, r := table.Insert(&k, h, MakeMeta(Established, 7), 1000, 0, l); r != Inserted {
		t.Fatal(r)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(9, uint64(g)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				sharedStep(table, l, rng, testKey(1+rng.IntN(30)), 0)
				table.Sweep(0, table.Buckets(), 10, l)
			}
		})
	}
	for range 300_000 {
		if e, ok := table.Lookup(&k, h); !ok || e.Meta.Backend() != 7 {
			t.Errorf("lost: %v %v", e, ok)
			break
		}
	}
	close(stop)
	wg.Wait()
	consistent(t, table, l)
}
