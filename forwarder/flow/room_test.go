package flow

import (
	"math/rand/v2"
	"testing"
)

// Room foretells Insert, whatever fills the table.
func TestRoomForetellsInsert(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var seen [4]int
	for range 200 {
		table := newTable(t, 1+rng.IntN(60), 1+rng.IntN(100))
		l := &ledger{}
		var entries []Entry
		for n := range 100 {
			s := State(1 + rng.IntN(int(NumStates)-1))
			k := testKey(n)
			h := table.Hash(&k)
			var gone []Entry
			if len(entries) > 0 && rng.IntN(3) == 0 {
				gone = entries[len(entries)-1:]
				entries = entries[:len(entries)-1]
			}
			want := table.Room(h, s, 500, gone...)
			for _, e := range gone {
				table.Remove(e, l)
			}
			e, got := table.Insert(&k, h, MakeMeta(s, 1), Tick(rng.IntN(1000)), 500, l)
			if got != want {
				t.Fatalf("Room %v, Insert %v", want, got)
			}
			seen[got]++
			if got == Inserted {
				entries = append(entries, e)
			}
			if rng.IntN(20) == 0 {
				entries = nil // those that were reclaimed are no entries any more
			}
		}
		consistent(t, table, l)
	}
	if seen[Inserted] == 0 || seen[Full] == 0 || seen[Bounded] == 0 {
		t.Errorf("results %v", seen)
	}
}
