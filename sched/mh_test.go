package sched

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dchest/siphash"
)

func tableOf(t testing.TB, bs []Backend, size int) []uint16 {
	t.Helper()
	table, err := maglevTable(bs, byID(bs), testKey, size)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// plainMaglev follows the paper's words: each server's whole list of preferences
// written out, the entries by name.
func plainMaglev(bs []Backend, size int) []string {
	var sorted []Backend
	total := 0
	for _, b := range bs {
		if b.Weight > 0 {
			sorted = append(sorted, b)
			total += b.Weight
		}
	}
	slices.SortFunc(sorted, func(a, b Backend) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	k0, k1 := halves(testKey)
	prefer := make([][]int, len(sorted))
	quota := make([]int, len(sorted))
	before := 0
	for i, b := range sorted {
		h1, h2 := siphash.Hash128(k0, k1, []byte(b.ID))
		offset, skip := int(h1%uint64(size)), int(h2%uint64(size-1))+1
		for j := range size {
			prefer[i] = append(prefer[i], (offset+j*skip)%size)
		}
		quota[i] = (before+b.Weight)*size/total - before*size/total
		before += b.Weight
	}
	entry := make([]string, size)
	has := make([]int, len(sorted))
	rounds := size / len(sorted)
	for round := 1; round <= rounds; round++ {
		for i, b := range sorted {
			for has[i] < quota[i]*round/rounds {
				for entry[prefer[i][0]] != "" {
					prefer[i] = prefer[i][1:]
				}
				entry[prefer[i][0]] = b.ID
				has[i]++
			}
		}
	}
	return entry
}

func TestMaglevTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, size := range []int{61, 251, 1021, 4093} {
		for range 12 {
			ws := make([]int, 1+rng.IntN(12))
			ws[0] = 1
			for i := 1; i < len(ws); i++ {
				ws[i] = rng.IntN(4)
			}
			bs := farm(ws...)
			got, want := tableOf(t, bs, size), plainMaglev(bs, size)
			for i := range want {
				if bs[got[i]].ID != want[i] {
					t.Fatalf("size %d, weights %v: entry %d is %s, the plain one says %s", size, ws, i, bs[got[i]].ID, want[i])
				}
			}
		}
	}
}

// TestMaglevShares: the table has each server as often as its weight says, to
// within one entry, and every server with a weight at least once.
func TestMaglevShares(t *testing.T) {
	for _, ws := range [][]int{{1}, {1, 1}, same(100, 1), {65535, 1}, {1, 2, 3, 0, 65535}, same(1000, 7), append(same(500, 1), 65535)} {
		bs := farm(ws...)
		got := make([]int, len(ws))
		for _, i := range tableOf(t, bs, defaultTable) {
			got[i]++
		}
		total := 0
		for _, w := range ws {
			total += w
		}
		for i, w := range ws {
			want := float64(w) * defaultTable / float64(total)
			if w == 0 && got[i] != 0 || w > 0 && got[i] == 0 {
				t.Errorf("%d servers: weight %d has %d entries", len(ws), w, got[i])
			}
			// The heavy ones give up an entry for each that would have had none.
			if d := float64(got[i]) - want; d > 1 || d < -1-float64(len(ws)) || d < -1 && w < 65535 {
				t.Errorf("%d servers: weight %d has %d entries, its share is %.1f", len(ws), w, got[i], want)
			}
		}
	}
	// The heaviest gives, not one that has two or three.
	light := 0
	for _, i := range tableOf(t, farm(append([]int{3000, 60000}, same(30, 1)...)...), 61) {
		if i == 0 {
			light++
		}
	}
	if light != 2 {
		t.Errorf("a server with a share of 2.9 has %d entries, want 2", light)
	}
	// As many servers as entries: one each, even for the lightest.
	ws := same(61, 1)
	ws[3] = 60000
	seen := map[uint16]bool{}
	for _, i := range tableOf(t, farm(ws...), 61) {
		seen[i] = true
	}
	if len(seen) != 61 {
		t.Errorf("%d of 61 servers are in a table of 61", len(seen))
	}
}

// TestHashOrder: sh, dh and mh choose the same server on every machine, whatever
// the order of the slice.
func TestHashOrder(t *testing.T) {
	for _, name := range []string{"mh", "sh", "dh"} {
		ws := make([]int, 40)
		for i := range ws {
			ws[i] = i % 5
		}
		bs := farm(ws...)
		shuffled := slices.Clone(bs)
		rand.Shuffle(len(bs), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		cfg := Config{Name: name, Key: testKey, Flags: []string{"fallback"}}
		overload(&bs[7])
		a, b := mustNew(t, cfg, bs, nil), mustNew(t, cfg, shuffled, nil)
		for n := range uint32(5000) {
			f := flow4(n)
			if n%2 == 0 {
				f = flow6(n)
			}
			i, j := a.Pick(f), b.Pick(f)
			if (i == None) != (j == None) || i != None && bs[i].ID != shuffled[j].ID {
				t.Fatalf("%s: flow %d goes to %d here and to %d there", name, n, i, j)
			}
		}
	}
}

// TestMaglevGolden fails when the table changes: two directors of different
// versions would then disagree while one of them is being upgraded.
func TestMaglevGolden(t *testing.T) {
	bs := farm(1, 2, 3, 0, 5)
	h := fnv.New64a()
	for _, i := range tableOf(t, bs, defaultTable) {
		fmt.Fprintln(h, bs[i].ID)
	}
	s := mustNew(t, Config{Name: "mh", Key: testKey, Flags: []string{"mh-port"}}, bs, nil)
	for n := range uint32(1000) {
		fmt.Fprintln(h, bs[s.Pick(flow4(n))].ID, bs[s.Pick(flow6(n))].ID)
	}
	if got, want := h.Sum64(), uint64(0x19171fd7720a4f83); got != want {
		t.Errorf("the table's digest is %#x, want %#x", got, want)
	}
}

// TestMaglevDisruption: when one of 100 servers leaves, or comes, no more than
// 1 % of the flows of the others move.
func TestMaglevDisruption(t *testing.T) {
	uneven := make([]int, 100)
	for i := range uneven {
		uneven[i] = 1 + i%4
	}
	for name, ws := range map[string][]int{"equal": same(100, 1), "uneven": uneven} {
		bs := farm(ws...)
		full := tableOf(t, bs, defaultTable)
		worst := 0.0
		for gone := 0; gone < 100; gone++ {
			less := slices.Clone(bs)
			less[gone].Weight = 0
			moved, others := 0, 0
			for i, s := range tableOf(t, less, defaultTable) {
				if int(full[i]) == gone {
					continue
				}
				others++
				if s != full[i] {
					moved++
				}
			}
			worst = max(worst, float64(moved)/float64(others))
		}
		t.Logf("%s weights: at most %.3f %% of the others' entries moved", name, 100*worst)
		if worst > 0.01 {
			t.Errorf("%s weights: %.2f %% of the others' entries moved", name, 100*worst)
		}
	}
}

// TestMHKey: another key gives another table, or an attacker could choose his
// server.
func TestMHKey(t *testing.T) {
	bs := farm(same(10, 1)...)
	a := mustNew(t, Config{Name: "mh", Key: testKey}, bs, nil)
	b := mustNew(t, Config{Name: "mh", Key: [16]byte{9}}, bs, nil)
	equal := 0
	for n := range uint32(10_000) {
		if a.Pick(flow4(n)) == b.Pick(flow4(n)) {
			equal++
		}
	}
	if equal > 1500 {
		t.Errorf("%d of 10000 flows go to the same of 10 servers with another key", equal)
	}
}

// TestMHFallback: the sources of an overloaded server spread over the others by
// weight; the other sources stay.
func TestMHFallback(t *testing.T) {
	bs := farm(1, 1, 2, 4)
	s := mustNew(t, Config{Name: "mh", Key: testKey, Flags: []string{"mh-fallback"}}, bs, nil)
	strict := mustNew(t, Config{Name: "mh", Key: testKey}, bs, nil)
	const flows = 40_000
	before := make([]int, flows)
	for n := range before {
		before[n] = s.Pick(flow4(uint32(n)))
	}
	overload(&bs[3])
	got := make([]int, 4)
	for n, was := range before {
		f := flow4(uint32(n))
		now := s.Pick(f)
		if was != 3 {
			if now != was || strict.Pick(f) != was {
				t.Fatalf("flow %d moved from %d to %d", n, was, now)
			}
			continue
		}
		if i := strict.Pick(f); i != None {
			t.Fatalf("flow %d got %d without the fallback flag", n, i)
		}
		got[now]++
	}
	for i, w := range []int{1, 1, 2, 0} {
		if want := flows / 2 * w / 4; got[i] < want*95/100 || got[i] > want*105/100 {
			t.Errorf("%d of the overloaded server's flows went to server %d, want about %d", got[i], i, want)
		}
	}
}

// TestMHFallbackFindsTheLast: one light server open among overloaded heavy ones.
func TestMHFallbackFindsTheLast(t *testing.T) {
	ws := append(same(60, 65535), 1)
	bs := farm(ws...)
	for i := range 60 {
		overload(&bs[i])
	}
	s := mustNew(t, Config{Name: "mh", Key: testKey, Flags: []string{"fallback"}}, bs, nil)
	for n := range uint32(1000) {
		if i := s.Pick(flow4(n)); i != 60 {
			t.Fatalf("flow %d: %d", n, i)
		}
	}
}
