package flow

import (
	"path/filepath"
	"testing"
)

// LookupAt looks at a slot without asking the directory. So what was in a table
// before must be dead there too, not only forgotten by the directory.
func TestNothingOutlivesItsDirectory(t *testing.T) {
	const n = 300
	dead := func(t *testing.T, table *Table) {
		t.Helper()
		for i := range n {
			k := testKey(i)
			h, slot := [1]uint64{table.Hash(&k)}, [1]uint32{}
			table.Guess(h[:], slot[:])
			if e, ok := table.LookupAt(&k, h[0], slot[0]); ok {
				t.Fatalf("key %d is found: %v in slot %d", i, e.Meta.State(), e.Slot)
			}
		}
		for i := range table.slots {
			if s := Meta(table.slots[i][wordMeta]).State(); s != Free {
				t.Fatalf("slot %d of an empty table is %v", i, s)
			}
		}
		usable(t, table, 0)
	}
	cfg := Config{Capacity: n, HalfOpen: 50, BootID: "boot-1"}
	t.Run("reset", func(t *testing.T) {
		cfg.Path = filepath.Join(t.TempDir(), "table")
		filled(t, cfg, n)
		table, o := open(t, cfg)
		defer table.Close(true)
		if o.Recovered != n {
			t.Fatal(o)
		}
		table.Reset()
		dead(t, table)
	})
	t.Run("another boot", func(t *testing.T) {
		cfg.Path = filepath.Join(t.TempDir(), "table")
		filled(t, cfg, n)
		cfg.BootID = "boot-2"
		table, _ := open(t, cfg)
		defer table.Close(true)
		dead(t, table)
	})
}
