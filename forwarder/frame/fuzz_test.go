package frame

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/gopacket/layers"
)

// seeds are one frame of every sort.
func seeds(t testing.TB) [][]byte {
	first := func(ip *layers.IPv4) { ip.Flags = layers.IPv4MoreFragments }
	later := func(ip *layers.IPv4) { ip.FragOffset = 3 }
	return [][]byte{
		tcp4(t, "hello"), udp4(t, "hello"), tcp6(t, "hello"), udp6(t, "hello"),
		udp4(t, "12345678", first), udp4(t, "12345678", later),
		extended(tcp6(t, "x"), options(nextHopByHop, 0), options(nextDestOpts, 1), routing(0), auth(), fragment(0, true, 7)),
		extended(udp6(t, "x"), fragment(0, false, 7)), extended(udp6(t, "x"), fragment(5, true, 7)),
		icmp4(t, 3, 4, turned(tcp4(t, "hello"))), icmp6(t, 2, 0, quote6(turned(tcp6(t, "hello")))),
		icmp6(t, 1, 0, quote6(turned(udp6(t, "hello")))),
		echo4(t, []byte("ping")), echo6(t, []byte("ping")), tagged(tcp4(t, ""), EtherVLAN), {},
	}
}

// FuzzParse: never panics, stays inside the frame, does not look behind End, and
// finds what gopacket finds.
func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, eth []byte) {
		eth = eth[:len(eth):len(eth)]
		before := bytes.Clone(eth)
		var p Packet
		fault := Parse(eth, &p)
		if fault >= NumFaults {
			t.Fatalf("fault %d", fault)
		}
		want, err := slow(eth)
		switch {
		case fault != OK && err == nil:
			// The one thing that gopacket takes and we don't: a first fragment
			// whose TCP options are cut is ours, but not gopacket's; no other.
			t.Fatalf("fault %v, gopacket reads %+v", fault, want)
		case fault == OK && errors.Is(err, errNotOurs):
			t.Fatalf("took what is not ours: %+v", p)
		case fault == OK && err == nil:
			if p.Flags != want.Flags || p.Key != want.Key || p.Kind != want.Kind || p.First != want.First ||
				p.V6 != want.V6 || p.End != want.End || p.First && p.FragID != want.FragID ||
				p.Kind != Later && p.L4 != want.L4 {
				t.Fatalf("got  %+v\nwant %+v", p, want)
			}
		}
		if !bytes.Equal(eth, before) {
			t.Fatal("Parse changed the frame")
		}
		if fault != OK {
			return
		}
		if p.L4 < EthLen+20 || p.L4 > p.End || p.End > len(eth) {
			t.Fatalf("L4 %d, End %d of %d", p.L4, p.End, len(eth))
		}
		// What follows the packet is padding and must not matter.
		for i := p.End; i < len(eth); i++ {
			eth[i] ^= 0xff
		}
		var q Packet
		if g := Parse(eth, &q); g != OK || q.Key != p.Key || q.Kind != p.Kind || q.Flags != p.Flags {
			t.Fatalf("padding changes the result: %v %+v, was %+v", g, q, p)
		}
		if g := Parse(eth[:p.End], &q); g != OK && p.End >= EthLen+20 || q.Key != p.Key {
			t.Fatalf("without padding: %v %+v, was %+v", g, q, p)
		}
	})
}

// FuzzEchoReply: the reply has right checksums, keeps the rest, and can't be
// taken for a request again.
func FuzzEchoReply(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, eth []byte) {
		var p Packet
		if Parse(eth, &p) != OK || p.Kind != Echo || p.First {
			return
		}
		before := bytes.Clone(eth)
		EchoReply(eth, &p, director)
		icmp := eth[p.L4:p.End]
		sum := uint32(0)
		if p.V6 {
			sum = sum16(eth[EthLen+8:EthLen+40], uint32(len(icmp))+ProtoICMPv6)
		} else if fold16(sum16(eth[EthLen:p.L4], 0)) != 0xffff {
			t.Fatal("IPv4 header checksum")
		}
		if fold16(sum16(icmp, sum)) != 0xffff {
			t.Fatal("ICMP checksum")
		}
		if !bytes.Equal(icmp[4:], before[p.L4+4:p.End]) || !bytes.Equal(eth[p.End:], before[p.End:]) {
			t.Fatal("the payload or padding changed")
		}
		var q Packet
		eth[0] &^= 1
		if fault := Parse(eth, &q); fault != FaultICMPType && fault != FaultMapped {
			t.Fatalf("the reply reads as %v %+v", fault, q)
		}
	})
}

func TestParseAllocatesNothing(t *testing.T) {
	frames := seeds(t)
	var p Packet
	if n := testing.AllocsPerRun(100, func() {
		for _, eth := range frames {
			if Parse(eth, &p) == OK && p.Kind == Echo {
				EchoReply(eth, &p, director)
				eth[p.L4] = 8
				if p.V6 {
					eth[p.L4] = 128
				}
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
