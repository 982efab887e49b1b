package frame

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestKeyRoundTrip(t *testing.T) {
	for _, c := range []struct{ src, dst string }{
		{"0.0.0.0", "255.255.255.255"}, {"198.51.100.7", "192.0.2.100"}, {"10.0.0.1", "10.0.0.2"},
		{"::", "ff02::1"}, {"2001:db8::1", "2001:db8::ffff:ffff"}, {"fe80::1", "::1"}, {"::fffe:102:304", "1::ffff:102:304"},
	} {
		src, dst := netip.MustParseAddr(c.src), netip.MustParseAddr(c.dst)
		for _, ports := range [][2]uint16{{0, 0}, {65535, 1}, {80, 65535}, {0x1234, 0x5678}} {
			k := MakeKey(netip.AddrPortFrom(src, ports[0]), netip.AddrPortFrom(dst, ports[1]), ProtoUDP)
			if k.Src() != src || k.Dst() != dst || k.SrcPort() != ports[0] || k.DstPort() != ports[1] ||
				k.Proto() != ProtoUDP || k.Kind() != KeyFlow || k.Is4() != dst.Is4() {
				t.Errorf("%v:%v -> %v:%v became %v:%d -> %v:%d", src, ports[0], dst, ports[1], k.Src(), k.SrcPort(), k.Dst(), k.DstPort())
			}
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 10000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		a := netip.AddrFrom16(b)
		if hi, lo := Words(a); Addr(hi, lo) != a {
			t.Fatalf("%v became %v", a, Addr(hi, lo))
		}
		a = netip.AddrFrom4([4]byte(b[:4]))
		if hi, lo := Words(a); Addr(hi, lo) != a {
			t.Fatalf("%v became %v", a, Addr(hi, lo))
		}
	}
}

func TestFragmentTail(t *testing.T) {
	k := Key{Tail: FragmentTail(0xdeadbeef, ProtoTCP)}
	if k.Kind() != KeyFragment || k.Proto() != ProtoTCP || k.Tail>>32 != 0xdeadbeef {
		t.Errorf("%#x", k.Tail)
	}
}

// MaskWords agrees with netip.Prefix for every length of both families.
func TestMaskWords(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		var b [16]byte
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		for _, a := range []netip.Addr{netip.AddrFrom4([4]byte(b[:4])), netip.AddrFrom16(b)} {
			for ones := 0; ones <= a.BitLen(); ones++ {
				want := netip.PrefixFrom(a, ones).Masked().Addr()
				hi, lo := Words(a)
				mhi, mlo := MaskWords(ones, a.Is4())
				if got := Addr(hi&mhi, lo&mlo); got != want {
					t.Fatalf("%v/%d: %v, want %v", a, ones, got, want)
				}
			}
		}
	}
	if hi, lo := MaskWords(200, false); hi != ^uint64(0) || lo != ^uint64(0) {
		t.Error("a length above 128 is not the whole address")
	}
}

func TestTemplate(t *testing.T) {
	k := flowKey("198.51.100.77", 4000, vip4, 443, ProtoTCP)
	hi, lo := MaskWords(24, true)
	got := k.Template(hi, lo, ProtoTCP, 80)
	want := flowKey("198.51.100.0", 0, vip4, 80, ProtoTCP)
	want.Tail |= uint64(KeyTemplate) << 16
	if got != want || got.Kind() != KeyTemplate {
		t.Errorf("%v:%d -> %v:%d kind %d", got.Src(), got.SrcPort(), got.Dst(), got.DstPort(), got.Kind())
	}
}

func TestHashesAreHash(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	packets, hashes := make([]Packet, 100), make([]uint64, 100)
	var seed Seed
	for i := range seed {
		seed[i] = rng.Uint64()
	}
	for i := range packets {
		packets[i].Key = Key{rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64()}
	}
	Hashes(packets, &seed, hashes)
	for i := range packets {
		if want := packets[i].Key.Hash(&seed); hashes[i] != want {
			t.Errorf("packet %d has %#x, alone %#x", i, hashes[i], want)
		}
	}
}

// The hash must spread what real traffic is made of: neighbouring addresses and
// ports. Buckets are counted as the table does it, and by the tag's bits; a
// chi-square sum more than 6 standard deviations off is a failure.
func TestHashSpread(t *testing.T) {
	const buckets, keys = 1024, 1 << 18
	dst := netip.MustParseAddrPort("192.0.2.100:80")
	patterns := map[string]func(i int) Key{
		"ports of one client": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i >> 16)}), uint16(i)), dst, ProtoTCP)
		},
		"sequential addresses, one port": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1024), dst, ProtoTCP)
		},
		"address and port rise together": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(i)), dst, ProtoTCP)
		},
		"high bytes of the address": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}), 1024), dst, ProtoTCP)
		},
		"IPv6 hosts": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}), 1024), dst, ProtoTCP)
		},
		"IPv6 networks": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i), 15: 1}), 1024), dst, ProtoTCP)
		},
		"service ports": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i >> 16)}), 999), netip.AddrPortFrom(dst.Addr(), uint16(i)), ProtoTCP)
		},
	}
	// Seeds are the table's random ones, fixed here so that the test can't flicker.
	rng := rand.New(rand.NewPCG(7, 8))
	for name, key := range patterns {
		for round := range 4 {
			var seed Seed
			for i := range seed {
				seed[i] = rng.Uint64()
			}
			var top, low, mid [buckets]int
			for i := range keys {
				k := key(i)
				h := k.Hash(&seed)
				top[h>>54]++
				low[h%buckets]++
				mid[h>>32%buckets]++
			}
			for part, counts := range map[string]*[buckets]int{"top": &top, "low": &low, "middle": &mid} {
				chi := 0.0
				for _, n := range counts {
					d := float64(n) - keys/buckets
					chi += d * d / (keys / buckets)
				}
				// Mean buckets-1, variance twice that. Fewer collisions than chance is fine.
				if z := (chi - (buckets - 1)) / 45.2; z > 6 {
					t.Errorf("%s, seed %d, %s bits: chi-square %.0f over %d buckets (z = %.1f)", name, round, part, chi, buckets, z)
				}
			}
		}
	}
}
