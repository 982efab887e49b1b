package pktio

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		// Few distinct words, so that neighbours and common prefixes occur.
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+r.Uint32N(1<<(1+r.UintN(24))))
		if r.IntN(16) == 0 {
			b[0] = byte(r.Uint32())
		}
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	for i := 0; i < 16; i += 4 {
		binary.BigEndian.PutUint32(b[i:], []uint32{0, 0x20010db8, 0xffffffff, r.Uint32N(4), r.Uint32()}[r.IntN(5)])
	}
	if a := netip.AddrFrom16(b); !a.Is4In6() {
		return a
	}
	return netip.IPv6Unspecified()
}

func randomFilter(r *rand.Rand, maxAddrs int) Filter {
	var f Filter
	for range r.IntN(6) {
		m := [6]byte{2, 0, 0, 0, byte(r.IntN(3)), byte(r.IntN(8))}
		if r.IntN(4) == 0 {
			m[0] = byte(r.Uint32())
		}
		f.MACs = append(f.MACs, m)
	}
	for range r.IntN(maxAddrs + 1) {
		f.Addrs = append(f.Addrs, randomAddr(r))
	}
	return f
}

// randomFrame makes a frame that often but not always suits the filter.
func randomFrame(r *rand.Rand, f Filter) []byte {
	b := make([]byte, 60+r.IntN(60))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	if len(f.MACs) > 0 && r.IntN(5) > 0 {
		copy(b, f.MACs[r.IntN(len(f.MACs))][:])
	}
	a := randomAddr(r)
	if len(f.Addrs) > 0 && r.IntN(3) > 0 {
		a = f.Addrs[r.IntN(len(f.Addrs))].Unmap()
		if r.IntN(3) == 0 {
			if n := a.Next(); n.IsValid() {
				a = n
			}
		}
	}
	if a.Is4() {
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		copy(b[30:], a.AsSlice())
	} else {
		binary.BigEndian.PutUint16(b[12:], 0x86dd)
		copy(b[38:], a.AsSlice())
	}
	switch r.IntN(12) {
	case 0:
		binary.BigEndian.PutUint16(b[12:], []uint16{0x0806, 0x8100, 0x0800, 0x86dd}[r.IntN(4)])
	case 1:
		b = b[:r.IntN(len(b))]
	case 2:
		b[r.IntN(len(b))] ^= 1 << r.UintN(8)
	}
	return b
}

func TestFilterProgramAgreesWithMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	passed, refused := 0, 0
	for range 400 {
		f := randomFilter(r, 60)
		prog, err := f.program()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Assemble(); err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(prog)
		if err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		for range 300 {
			b := randomFrame(r, f)
			n, err := vm.Run(b)
			if err != nil {
				t.Fatal(err)
			}
			want := f.Match(b)
			if (n > 0) != want {
				t.Fatalf("filter %v\nframe %x\nprogram says %v, Match says %v", f, b, n > 0, want)
			}
			if want {
				passed++
			} else {
				refused++
			}
		}
	}
	if passed < 10000 || refused < 10000 {
		t.Errorf("%d passed, %d refused: the frames test one side only", passed, refused)
	}
}

func TestFilterMatch(t *testing.T) {
	mac := [6]byte{2, 0, 0, 0, 0, 1}
	vip4, vip6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	frame := func(mac [6]byte, typ uint16, dst netip.Addr) []byte {
		b := make([]byte, 60)
		copy(b, mac[:])
		binary.BigEndian.PutUint16(b[12:], typ)
		if dst.Is4() {
			copy(b[30:], dst.AsSlice())
		} else {
			copy(b[38:], dst.AsSlice())
		}
		return b
	}
	both := Filter{MACs: [][6]byte{mac}, Addrs: []netip.Addr{vip4, vip6}}
	for _, tc := range []struct {
		name   string
		filter Filter
		frame  []byte
		want   bool
	}{
		{"IPv4 to a VIP", both, frame(mac, 0x0800, vip4), true},
		{"IPv6 to a VIP", both, frame(mac, 0x86dd, vip6), true},
		{"other IPv4 address", both, frame(mac, 0x0800, vip4.Next()), false},
		{"other IPv6 address", both, frame(mac, 0x86dd, vip6.Next()), false},
		{"other MAC", both, frame([6]byte{2, 0, 0, 0, 0, 2}, 0x0800, vip4), false},
		{"broadcast", both, frame([6]byte{255, 255, 255, 255, 255, 255}, 0x0800, vip4), false},
		{"ARP", both, frame(mac, 0x0806, vip4), false},
		{"tag in the frame", both, frame(mac, 0x8100, vip4), false},
		{"cut before the IPv4 address ends", both, frame(mac, 0x0800, vip4)[:33], false},
		{"cut before the IPv6 address ends", both, frame(mac, 0x86dd, vip6)[:53], false},
		{"no Ethernet header", both, frame(mac, 0x0800, vip4)[:13], false},
		{"empty", both, nil, false},
		{"no addresses", Filter{MACs: both.MACs}, frame(mac, 0x0800, vip4), false},
		{"no MACs", Filter{Addrs: both.Addrs}, frame(mac, 0x0800, vip4), false},
		{"IPv4-mapped in the list", Filter{MACs: both.MACs, Addrs: []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1")}}, frame(mac, 0x0800, vip4), true},
		{"IPv4-mapped in the frame", both, frame(mac, 0x86dd, netip.MustParseAddr("::ffff:10.0.0.1")), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.filter.Match(tc.frame); got != tc.want {
				t.Errorf("Match says %v", got)
			}
			prog, err := tc.filter.program()
			if err != nil {
				t.Fatal(err)
			}
			vm, err := bpf.NewVM(prog)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := vm.Run(tc.frame); err != nil || (n > 0) != tc.want {
				t.Errorf("program says %d, %v", n, err)
			}
		})
	}
}

func TestFilterSizes(t *testing.T) {
	mac := [][6]byte{{2, 0, 0, 0, 0, 1}}
	v4 := func(n int) (as []netip.Addr) {
		for i := range n {
			as = append(as, netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(7 * i)}))
		}
		return as
	}
	v6 := func(n int) (as []netip.Addr) {
		r := rand.New(rand.NewPCG(3, 4))
		for range n {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:], r.Uint64())
			binary.BigEndian.PutUint64(b[8:], r.Uint64())
			as = append(as, netip.AddrFrom16(b))
		}
		return as
	}
	for _, tc := range []struct {
		name  string
		addrs []netip.Addr
		fits  bool
	}{
		{"2000 IPv4", v4(2000), true},
		{"300 unrelated IPv6", v6(300), true},
		{"5000 IPv4", v4(5000), false},
		{"2000 unrelated IPv6", v6(2000), false},
	} {
		f := Filter{MACs: mac, Addrs: tc.addrs}
		raw, err := f.Assemble()
		if fits := err == nil; fits != tc.fits {
			t.Errorf("%s: %d instructions, error %v", tc.name, len(raw), err)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprint(MaxInstructions)) {
			t.Errorf("%s: error %q does not name the limit", tc.name, err)
		}
		if tc.fits {
			prog, _ := f.program()
			vm, err := bpf.NewVM(prog)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(5, 6))
			for range 2000 {
				b := randomFrame(r, f)
				if n, _ := vm.Run(b); (n > 0) != f.Match(b) {
					t.Fatalf("%s: frame %x: program says %d", tc.name, b, n)
				}
			}
		}
		t.Logf("%s: %d instructions", tc.name, len(raw))
	}
	if _, err := (Filter{MACs: mac, Addrs: []netip.Addr{{}}}).Assemble(); err == nil {
		t.Error("the zero address was taken")
	}
}
