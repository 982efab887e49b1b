package sched

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestVectors replays what the kernel's IPVS picked, event by event.
func TestVectors(t *testing.T) {
	f, err := os.Open("testdata/ipvs-picks.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]int{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		head, events, ok := strings.Cut(line, " : ")
		name, weights, ok2 := strings.Cut(head, " weights=")
		if !ok || !ok2 {
			t.Fatalf("line %d: cannot read %q", n, line)
		}
		seen[name]++
		t.Run(name+"/"+strconv.Itoa(n), func(t *testing.T) {
			replay(t, name, strings.Split(weights, ","), strings.Fields(events))
		})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf"} {
		if seen[name] == 0 {
			t.Errorf("no line for %s", name)
		}
	}
}

func replay(t *testing.T, name string, weights, events []string) {
	var ws []int
	for _, w := range weights {
		n, err := strconv.Atoi(w)
		if err != nil {
			t.Fatal(err)
		}
		ws = append(ws, n)
	}
	backends := farm(ws...)
	s := mustNew(t, Config{Name: name}, backends, nil)
	var conns []int
	for at, e := range events {
		if j, ok := strings.CutPrefix(e, "x"); ok {
			n, err := strconv.Atoi(j)
			if err != nil {
				t.Fatal(err)
			}
			if i := conns[n]; i != None {
				backends[i].Load.Add(-1, 1)
			}
			continue
		}
		want := None
		if e != "-" {
			n, err := strconv.Atoi(e)
			if err != nil {
				t.Fatal(err)
			}
			want = n - 1
		}
		flow := flow4(uint32(at))
		if got := s.Peek(flow); got != want {
			t.Fatalf("event %d: Peek = %d, the kernel picked %d", at, got, want)
		}
		if got := s.Pick(flow); got != want {
			t.Fatalf("event %d: Pick = %d, the kernel picked %d", at, got, want)
		}
		conns = append(conns, want)
		if want != None {
			backends[want].Load.Add(0, 1) // the SYN
			backends[want].Load.Add(1, -1)
		}
	}
}
