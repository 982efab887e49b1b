package flow

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// resident returns the process's resident memory in bytes.
func resident(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kb int
		if _, err := fmt.Sscanf(s.Text(), "VmRSS: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Skip("no VmRSS in /proc/self/status")
	return 0
}

// A million connections take at most 100 MB, in memory of the process as in a
// file, and an empty table next to nothing but its directory.
func TestResidentMemory(t *testing.T) {
	const million, limit = 1_000_000, 100_000_000
	for name, path := range map[string]string{"memory": "", "file": filepath.Join(t.TempDir(), "table")} {
		debug.FreeOSMemory()
		before := resident(t)
		table, _ := open(t, Config{Capacity: million, HalfOpen: 25, Path: path, BootID: "b"})
		empty := resident(t) - before
		l := &ledger{}
		for n := range million {
			k := testKey(n)
			if _, r := table.Insert(&k, table.Hash(&k), MakeMeta(Established, 1), 1000, 0, l); r != Inserted {
				t.Fatal(r)
			}
		}
		debug.FreeOSMemory()
		full := resident(t) - before
		t.Logf("%s: %d MB empty, %.1f MB with a million connections", name, empty/1e6, float64(full)/1e6)
		if full > limit {
			t.Errorf("%s: %d bytes resident for a million connections, want at most %d", name, full, limit)
		}
		if full < million*slotBytes {
			t.Errorf("%s: %d bytes can't be all of it", name, full)
		}
		if empty > limit/5 {
			t.Errorf("%s: an empty table takes %d bytes", name, empty)
		}
		if err := table.Close(true); err != nil {
			t.Error(err)
		}
		if left := resident(t) - before; left > limit/5 {
			t.Errorf("%s: %d bytes stay after Close", name, left)
		}
	}
}
