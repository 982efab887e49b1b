package sched

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

var testKey = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// farm makes one idle backend for each weight.
func farm(weights ...int) []Backend {
	bs := make([]Backend, len(weights))
	for i, w := range weights {
		bs[i] = Backend{ID: fmt.Sprintf("192.168.%d.%d", 2+i/250, 1+i%250), Weight: w, Load: new(Load)}
	}
	return bs
}

func same(n, weight int) []int {
	ws := make([]int, n)
	for i := range ws {
		ws[i] = weight
	}
	return ws
}

func mustNew(t testing.TB, cfg Config, bs []Backend, prev Scheduler) Scheduler {
	t.Helper()
	s, err := New(cfg, bs, prev)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flow4 is the n-th of many flows: source and destination address and the source
// port all depend on n.
func flow4(n uint32) *Flow {
	var src, dst [4]byte
	binary.BigEndian.PutUint32(src[:], 0x0a000000+n)
	binary.BigEndian.PutUint32(dst[:], 0xc0a80000+n%50000)
	return &Flow{
		Src: netip.AddrFrom4(src), Dst: netip.AddrFrom4(dst),
		SrcPort: uint16(1024 + n%60000), DstPort: 80,
	}
}

// flow6 is flow4 in IPv6.
func flow6(n uint32) *Flow {
	f := flow4(n)
	src, dst := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("2001:db8:1::1").As16()
	a, b := f.Src.As4(), f.Dst.As4()
	copy(src[8:], a[:])
	copy(dst[8:], b[:])
	f.Src, f.Dst = netip.AddrFrom16(src), netip.AddrFrom16(dst)
	return f
}

// overload closes a backend by its threshold.
func overload(b *Backend) {
	b.Load.SetThresholds(1, 0)
	b.Load.Add(1, 0)
}
