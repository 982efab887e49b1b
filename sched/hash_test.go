package sched

import (
	"encoding/binary"
	"testing"
)

// ipvsHash is IPVS's hash in its own words: 64-bit arithmetic, then masked.
func ipvsHash(addr []byte, port uint16, offset uint64) uint64 {
	var folded uint32
	for ; len(addr) > 0; addr = addr[4:] {
		folded ^= binary.BigEndian.Uint32(addr)
	}
	return (offset + uint64(uint32(port)+folded)*2654435761) & 255
}

// deal fills 256 buckets as IPVS does, given the weights in the order of IDs; all
// 1 for dh.
func deal(weights []int) (buckets []int) {
	for {
		for i, w := range weights {
			for range max(w, 1) {
				if buckets = append(buckets, i); len(buckets) == 256 {
					return buckets
				}
			}
		}
	}
}

func TestSHTwin(t *testing.T) {
	ws := []int{3, 0, 1, 5, 2}
	bs := farm(ws...)
	overload(&bs[3])
	buckets := deal(ws)
	open := func(i int) bool { return ws[i] > 0 && i != 3 }
	for _, flags := range [][]string{nil, {"sh-port"}, {"sh-fallback"}, {"sh-port", "sh-fallback"}} {
		s := mustNew(t, Config{Name: "sh", Flags: flags}, bs, nil)
		withPort := len(flags) > 0 && flags[0] == "sh-port"
		fallback := len(flags) > 0 && flags[len(flags)-1] == "sh-fallback"
		fell := 0
		for n := range uint32(4000) {
			f := flow4(n * 7919)
			if n%2 == 0 {
				f = flow6(n * 7919)
			}
			port := uint16(0)
			if withPort {
				port = f.SrcPort
			}
			addr := f.Src.AsSlice()
			h := ipvsHash(addr, port, 0)
			want := buckets[h]
			if !open(want) {
				want = None
				for n := uint64(0); fallback && want == None && n < 256; n++ {
					if i := buckets[ipvsHash(addr, port, (n+h)%256)]; open(i) {
						want = i
						fell++
					}
				}
			}
			if got := s.Pick(f); got != want {
				t.Fatalf("%v: flow %d: %d, want %d", flags, n, got, want)
			}
		}
		if fallback && fell == 0 {
			t.Errorf("%v: no flow fell back", flags)
		}
	}
}

func TestDHTwin(t *testing.T) {
	bs := farm(3, 0, 1)
	s := mustNew(t, Config{Name: "dh"}, bs, nil)
	buckets := deal([]int{1, 1, 1})
	for n := range uint32(4000) {
		f := flow4(n)
		if n%2 == 0 {
			f = flow6(n)
		}
		want := buckets[ipvsHash(f.Dst.AsSlice(), 0, 0)]
		if want == 1 {
			want = None
		}
		if got := s.Pick(f); got != want {
			t.Fatalf("flow %d: %d, want %d", n, got, want)
		}
	}
}

// TestWhatIsHashed: a scheduler that must not look at a part of the flow does
// not, and one that must does.
func TestWhatIsHashed(t *testing.T) {
	for _, c := range []struct {
		name           string
		flags          []string
		src, port, dst bool
	}{
		{"sh", nil, true, false, false},
		{"sh", []string{"sh-port"}, true, true, false},
		{"mh", nil, true, false, false},
		{"mh", []string{"mh-port"}, true, true, false},
		{"dh", nil, false, false, true},
	} {
		s := mustNew(t, Config{Name: c.name, Flags: c.flags, Key: testKey}, farm(same(50, 1)...), nil)
		var src, port, dst, dport bool
		for n := range uint32(300) {
			base, other := flow4(n), flow4(n+1000)
			i := s.Pick(base)
			with := func(change func(*Flow)) bool {
				f := *base
				change(&f)
				return s.Pick(&f) != i
			}
			src = src || with(func(f *Flow) { f.Src = other.Src })
			port = port || with(func(f *Flow) { f.SrcPort = other.SrcPort })
			dst = dst || with(func(f *Flow) { f.Dst = other.Dst })
			dport = dport || with(func(f *Flow) { f.DstPort = 443 })
		}
		if src != c.src || port != c.port || dst != c.dst || dport {
			t.Errorf("%s %v looks at source %t, its port %t, destination %t, its port %t", c.name, c.flags, src, port, dst, dport)
		}
	}
}
