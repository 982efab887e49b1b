package flow

import (
	"sync"
	"testing"
)

// Goroutines that find, remove and insert the same key as fast as they can catch
// each other between any two writes.
func TestChurn(t *testing.T) {
	rounds := 200_000
	if testing.Short() {
		rounds = 20_000
	}
	table := newTable(t, 12, 100)
	l := &ledger{}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range rounds {
				k := testKey(n / 64 % 2)
				h := table.Hash(&k)
				if e, ok := table.Lookup(&k, h); ok {
					table.Remove(e, l)
				} else {
					table.Insert(&k, h, MakeMeta(SynRecv, uint32(g)), 1000, 0, l)
				}
			}
		})
	}
	wg.Wait()
	consistent(t, table, l)
}

// hasty removes an entry in the middle of its Insert, as a goroutine could that
// read the directory before the slot changed its owner.
type hasty struct {
	ledger
	table *Table
}

func (h *hasty) Born(m Meta) {
	h.ledger.Born(m)
	for i := range h.table.slots {
		h.table.Remove(Entry{Slot: uint32(i), Meta: m}, h)
	}
}

// An entry that ends while it is being inserted must not cost its slot.
func TestEndDuringInsert(t *testing.T) {
	table := newTable(t, 12, 100)
	h := &hasty{table: table}
	for n := range 100 {
		k := testKey(n)
		if e, r := table.Insert(&k, table.Hash(&k), MakeMeta(SynRecv, 1), 1000, 0, h); r == Inserted {
			table.Remove(e, h)
		} else {
			t.Fatalf("insert %d: %v: slots are lost", n, r)
		}
	}
	if found := consistent(t, table, &h.ledger); len(found) != 0 {
		t.Errorf("%d entries", len(found))
	}
}
