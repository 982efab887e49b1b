package frame

import (
	"testing"

	"github.com/google/gopacket/layers"
)

type parseCase struct {
	name  string
	eth   []byte
	fault Fault
	want  Packet // of a frame without fault; V6, L4 and End are compared where set
}

func checkParse(t *testing.T, cases []parseCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// What an earlier frame left in p must not shine through.
			got := Packet{Key: Key{1, 2, 3, 4, 5}, Kind: 77, Flags: 77, First: true, V6: true, FragID: 7, L4: 7, End: 7}
			frame := append([]byte(nil), c.eth...)
			if f := Parse(frame, &got); f != c.fault {
				t.Fatalf("fault %v, want %v", f, c.fault)
			}
			if string(frame) != string(c.eth) {
				t.Error("Parse changed the frame")
			}
			if c.fault != OK {
				return
			}
			w := c.want
			if got.Key != w.Key || got.Kind != w.Kind || got.Flags != w.Flags || got.First != w.First || got.V6 != w.V6 {
				t.Errorf("got  %+v\nwant %+v", got, w)
			}
			if w.First && got.FragID != w.FragID {
				t.Errorf("identification %#x, want %#x", got.FragID, w.FragID)
			}
			if w.End != 0 && got.End != w.End {
				t.Errorf("End %d, want %d", got.End, w.End)
			}
			if w.L4 != 0 && got.L4 != w.L4 {
				t.Errorf("L4 %d, want %d", got.L4, w.L4)
			}
		})
	}
}

var (
	keyT4 = flowKey(client4, 40000, vip4, 80, ProtoTCP)
	keyU4 = flowKey(client4, 40000, vip4, 53, ProtoUDP)
	keyT6 = flowKey(client6, 40000, vip6, 80, ProtoTCP)
	keyU6 = flowKey(client6, 40000, vip6, 53, ProtoUDP)
)

func TestParseIPv4(t *testing.T) {
	opts := func(ip *layers.IPv4) {
		ip.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {OptionType: 0}}
	}
	most := func(ip *layers.IPv4) { // 40 bytes of options
		ip.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 39, OptionData: make([]byte, 37)}, {OptionType: 0}}
	}
	first := func(ip *layers.IPv4) { ip.Flags = layers.IPv4MoreFragments }
	later := func(ip *layers.IPv4) { ip.FragOffset = 100 }
	middle := func(ip *layers.IPv4) { ip.FragOffset, ip.Flags = 100, layers.IPv4MoreFragments }
	df := func(ip *layers.IPv4) { ip.Flags = layers.IPv4DontFragment }
	plain := tcp4(t, "hello")
	seg := Packet{Key: keyT4, Kind: Segment, Flags: SYN, L4: 34, End: len(plain)}
	firstTCP := tcp4(t, "hello", first)
	tiny := append([]byte(nil), firstTCP[:34+19]...)
	tiny[17] = 20 + 19
	checkParse(t, []parseCase{
		{"tcp", plain, OK, seg},
		{"tcp padded", append(append([]byte(nil), plain...), make([]byte, 6)...), OK, seg},
		{"tcp don't fragment", tcp4(t, "hello", df), OK, seg},
		{"tcp reserved bit", with(plain, 20, 0x80), OK, seg},
		{"tcp options", tcp4(t, "", opts), OK, Packet{Key: keyT4, Kind: Segment, Flags: SYN, L4: 42}},
		{"tcp most options", tcp4(t, "", most), OK, Packet{Key: keyT4, Kind: Segment, Flags: SYN, L4: 74}},
		{"tcp all flags", with(plain, 34+13, 0xff), OK, Packet{Key: keyT4, Kind: Segment, Flags: 0xff}},
		{"udp", udp4(t, "x"), OK, Packet{Key: keyU4, Kind: Datagram, L4: 34}},
		{"udp empty", udp4(t, ""), OK, Packet{Key: keyU4, Kind: Datagram}},
		{"udp options", udp4(t, "x", opts), OK, Packet{Key: keyU4, Kind: Datagram, L4: 42}},
		{"first fragment tcp", firstTCP, OK, Packet{Key: keyT4, Kind: Segment, Flags: SYN, First: true, FragID: 0x1234}},
		{"first fragment udp", udp4(t, "12345678", first), OK, Packet{Key: keyU4, Kind: Datagram, First: true, FragID: 0x1234}},
		{"middle fragment", udp4(t, "12345678", middle), OK, Packet{Key: fragmentKey(client4, vip4, 0x1234, ProtoUDP), Kind: Later}},
		{"last fragment", udp4(t, "12345678", later), OK, Packet{Key: fragmentKey(client4, vip4, 0x1234, ProtoUDP), Kind: Later}},
		{"last fragment tcp", tcp4(t, "", later), OK, Packet{Key: fragmentKey(client4, vip4, 0x1234, ProtoTCP), Kind: Later}},
		{"tiny first fragment", tiny, FaultTinyFragment, Packet{}},
		{"version 5", with(plain, 14, 0x55), FaultIPHeader, Packet{}},
		{"version 6 in an IPv4 frame", with(plain, 14, 0x65), FaultIPHeader, Packet{}},
		{"header of 16 bytes", with(plain, 14, 0x44), FaultIPHeader, Packet{}},
		{"header beyond packet", with(tcp4(t, "")[:14+44], 14, 0x4f), FaultIPHeader, Packet{}},
		{"length below header", with(with(plain, 16, 0), 17, 19), FaultIPHeader, Packet{}},
		{"length beyond frame", with(plain, 17, plain[17]+1), FaultIPLength, Packet{}},
		{"length cuts tcp", with(plain, 17, 39), FaultShort, Packet{}},
		{"tcp offset 4", with(plain, 34+12, 4<<4), FaultTCPHeader, Packet{}},
		{"tcp offset beyond", with(plain, 34+12, 15<<4), FaultTCPHeader, Packet{}},
		{"first fragment ends in tcp options", with(firstTCP, 34+12, 15<<4), OK, Packet{Key: keyT4, Kind: Segment, Flags: SYN, First: true, FragID: 0x1234}},
		{"sctp", with(plain, 23, 132), FaultProtocol, Packet{}},
		{"icmpv6 in IPv4", with(plain, 23, 58), FaultProtocol, Packet{}},
		{"group address", with(plain, 0, 1), FaultNotUnicast, Packet{}},
		{"broadcast", with(plain, 0, 0xff), FaultNotUnicast, Packet{}},
		{"arp", append(with(plain, 13, 6)[:14], make([]byte, 46)...), FaultEtherType, Packet{}},
		{"lldp", with(with(plain, 12, 0x88), 13, 0xcc), FaultEtherType, Packet{}},
		{"802.3 length", with(with(plain, 12, 0), 13, 46), FaultEtherType, Packet{}},
		{"vlan", tagged(plain, EtherVLAN), FaultVLAN, Packet{}},
		{"qinq", tagged(plain, EtherQinQ, EtherVLAN), FaultVLAN, Packet{}},
		{"old qinq", tagged(plain, EtherOldQinQ, EtherVLAN), FaultVLAN, Packet{}},
		{"vlan short", tagged(plain, EtherVLAN)[:20], FaultVLAN, Packet{}},
	})
}

func TestParseIPv6(t *testing.T) {
	plain := tcp6(t, "hello")
	seg := Packet{Key: keyT6, Kind: Segment, Flags: SYN, V6: true}
	at := func(l4 int) Packet { p := seg; p.L4 = l4; return p }
	frag := func(first bool) Packet { p := seg; p.First, p.FragID = first, 0xcafe1234; return p }
	laterKey := Packet{Key: fragmentKey(client6, vip6, 0xcafe1234, 0), Kind: Later, V6: true}
	all := []ext{options(nextHopByHop, 0), options(nextDestOpts, 2), routing(0), auth(), options(nextDestOpts, 0)}
	tiny := extended(plain, fragment(0, true, 1))
	tiny = tiny[:54+8+19]
	tiny[19] = 8 + 19
	mapped := func(at int) []byte {
		eth := append([]byte(nil), plain...)
		copy(eth[at:], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1})
		return eth
	}
	many := func(n int) (exts []ext) {
		for range n {
			exts = append(exts, options(nextDestOpts, 0))
		}
		return exts
	}
	checkParse(t, []parseCase{
		{"tcp", plain, OK, at(54)},
		{"tcp padded", append(append([]byte(nil), plain...), 0, 0), OK, Packet{Key: keyT6, Kind: Segment, Flags: SYN, V6: true, End: len(plain)}},
		{"udp", udp6(t, "x"), OK, Packet{Key: keyU6, Kind: Datagram, V6: true}},
		{"hop-by-hop", extended(plain, options(nextHopByHop, 0)), OK, at(62)},
		{"destination options", extended(plain, options(nextDestOpts, 3)), OK, at(54 + 32)},
		{"routing done", extended(plain, routing(0)), OK, at(62)},
		{"routing ahead", extended(plain, routing(1)), FaultRouting, Packet{}},
		{"authentication", extended(plain, auth()), OK, at(54 + 24)},
		{"all of them", extended(plain, all...), OK, at(54 + 8 + 24 + 8 + 24 + 8)},
		{"all and a first fragment", extended(plain, append(all, fragment(0, true, 0xcafe1234))...), OK, frag(true)},
		{"eight headers", extended(plain, many(8)...), OK, at(54 + 64)},
		{"nine headers", extended(plain, many(9)...), FaultExtension, Packet{}},
		{"hop-by-hop second", extended(plain, options(nextDestOpts, 0), options(nextHopByHop, 0)), FaultExtension, Packet{}},
		{"extension beyond end", with(extended(plain, options(nextDestOpts, 0)), 55, 200), FaultExtension, Packet{}},
		{"first fragment", extended(plain, fragment(0, true, 0xcafe1234)), OK, frag(true)},
		{"atomic fragment", extended(plain, fragment(0, false, 0xcafe1234)), OK, frag(false)},
		{"middle fragment", extended(plain, fragment(180, true, 0xcafe1234)), OK, laterKey},
		{"last fragment", extended(plain, fragment(180, false, 0xcafe1234)), OK, laterKey},
		{"last fragment of another protocol", extended(udp6(t, "x"), fragment(180, false, 0xcafe1234)), OK, laterKey},
		{"last fragment behind options", extended(plain, options(nextHopByHop, 0), fragment(180, false, 0xcafe1234)), OK, laterKey},
		{"later fragment's payload is no header", extended(extended(plain, options(nextDestOpts, 31)), fragment(9, false, 0xcafe1234)), OK, laterKey},
		{"two fragment headers", extended(plain, fragment(0, true, 1), fragment(0, true, 2)), FaultExtension, Packet{}},
		{"fragment header cut", with(extended(plain, fragment(0, true, 1)), 19, 7), FaultExtension, Packet{}},
		{"tiny first fragment", tiny, FaultTinyFragment, Packet{}},
		{"version 4 in an IPv6 frame", with(plain, 14, 0x40), FaultIPHeader, Packet{}},
		{"length beyond frame", with(plain, 19, plain[19]+1), FaultIPLength, Packet{}},
		{"length cuts tcp", with(plain, 19, 19), FaultShort, Packet{}},
		{"no next header", with(plain, 20, 59), FaultProtocol, Packet{}},
		{"esp", with(plain, 20, 50), FaultProtocol, Packet{}},
		{"icmpv4 in IPv6", with(plain, 20, 1), FaultProtocol, Packet{}},
		{"mapped source", mapped(22), FaultMapped, Packet{}},
		{"mapped destination", mapped(38), FaultMapped, Packet{}},
		{"vlan", tagged(plain, EtherVLAN), FaultVLAN, Packet{}},
	})
}

// A frame cut anywhere is a fault, never a panic and never another connection.
func TestParseTruncated(t *testing.T) {
	quoted := icmp4(t, 3, 4, turned(tcp4(t, "hello")))
	for name, eth := range map[string][]byte{
		"tcp4": tcp4(t, "hello"), "udp4": udp4(t, "x"), "tcp6": tcp6(t, "hello"), "icmp4": quoted,
		"icmp6": icmp6(t, 2, 0, quote6(turned(tcp6(t, "hello")))),
		"ext6":  extended(tcp6(t, "hello"), options(nextHopByHop, 1), fragment(0, false, 1), auth()),
	} {
		var whole Packet
		if f := Parse(eth, &whole); f != OK {
			t.Fatalf("%s: %v", name, f)
		}
		eth = eth[:whole.End] // without Ethernet's padding
		for n := range len(eth) {
			var p Packet
			if f := Parse(eth[:n:n], &p); f != FaultShort && f != FaultIPLength {
				t.Errorf("%s cut to %d bytes: %v", name, n, f)
			}
			// The same with an IP length that fits what is left.
			cut := append([]byte(nil), eth[:n]...)
			switch {
			case name[len(name)-1] == '4' && n >= 34:
				put16(cut[16:], uint16(n-14))
			case name[len(name)-1] == '6' && n >= 54:
				put16(cut[18:], uint16(n-54))
			default:
				continue
			}
			if f := Parse(cut, &p); f == OK && (p.Key != whole.Key || p.End != n) {
				t.Errorf("%s cut to %d bytes became %v", name, n, p.Key)
			}
		}
	}
}

// The short way for common segments and the long one agree, whatever single bytes
// are changed.
func TestFastWayAgrees(t *testing.T) {
	base := tcp4(t, "hello")
	for at := range base[:60] {
		for _, b := range []byte{0, 1, 0x10, 0x40, 0x45, 0x46, 0x50, 0x5f, 0x80, 0xf0, 0xff, base[at] + 1, base[at] - 1, base[at]} {
			eth := with(base, at, b)
			var fast, long Packet
			if !isCommon((*[commonLen]byte)(eth), len(eth)) {
				continue
			}
			fast.readCommon((*[commonLen]byte)(eth))
			if eth[0]&1 != 0 || be16(eth[12:]) != EtherIPv4 {
				t.Fatalf("byte %d = %#x: the short way took a foreign frame", at, b)
			}
			if f := parse4(eth, &long); f != OK || fast != long {
				t.Fatalf("byte %d = %#x: %v\nfast %+v\nlong %+v", at, b, f, fast, long)
			}
		}
	}
	if !isCommon((*[commonLen]byte)(base), len(base)) {
		t.Error("the short way does not take a plain segment")
	}
}
