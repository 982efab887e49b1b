package frame

import (
	"fmt"
	"testing"

	"github.com/google/gopacket/layers"
)

func TestParseICMPErrors(t *testing.T) {
	var cases []parseCase
	for typ := range 256 {
		if typ == 8 {
			continue
		}
		fault := FaultICMPType
		if typ == 3 || typ == 4 || typ == 11 || typ == 12 {
			fault = OK
		}
		cases = append(cases, parseCase{fmt.Sprintf("IPv4 type %d", typ), icmp4(t, uint8(typ), 1, turned(tcp4(t, ""))),
			fault, Packet{Key: keyT4, Kind: Error}})
	}
	for typ := range 256 {
		if typ == 128 {
			continue
		}
		fault := FaultICMPType
		if typ >= 1 && typ <= 4 {
			fault = OK
		}
		cases = append(cases, parseCase{fmt.Sprintf("IPv6 type %d", typ), icmp6(t, uint8(typ), 0, quote6(turned(tcp6(t, "")))),
			fault, Packet{Key: keyT6, Kind: Error, V6: true}})
	}
	checkParse(t, cases)
}

func TestParseICMPQuotes(t *testing.T) {
	error4 := func(ip []byte) []byte { return icmp4(t, 3, 4, ip) }
	error6 := func(ip []byte) []byte { return icmp6(t, 2, 0, quote6(ip)) }
	opts := func(ip *layers.IPv4) {
		ip.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {OptionType: 0}}
	}
	first := func(ip *layers.IPv4) { ip.Flags = layers.IPv4MoreFragments }
	later := func(ip *layers.IPv4) { ip.FragOffset = 5 }
	is4 := func(k Key) Packet { return Packet{Key: k, Kind: Error} }
	is6 := func(k Key) Packet { return Packet{Key: k, Kind: Error, V6: true} }
	foreign4 := turned(tcp4(t, ""))
	foreign4[15]++ // the quoted source is no longer the VIP
	foreign6 := turned(tcp6(t, ""))
	foreign6[23]++
	echo := icmp4(t, 8, 0, nil)[EthLen:]
	quotedExt := func(exts ...ext) []byte {
		eth := extended(tcp6(t, ""), exts...)
		ip := append([]byte(nil), eth[EthLen:]...)
		swap(ip[8:24], ip[24:40])
		at := len(ip) - 24
		swap(ip[at:at+2], ip[at+2:at+4])
		return ip
	}
	fragmented := icmp4(t, 3, 4, turned(tcp4(t, "")))
	fragmented[20] = 0x20
	checkParse(t, []parseCase{
		{"IPv4 tcp", error4(turned(tcp4(t, "data"))), OK, is4(keyT4)},
		{"IPv4 udp", error4(turned(udp4(t, "data"))), OK, is4(keyU4)},
		{"IPv4 eight bytes", error4(turned(tcp4(t, "data"))[:28]), OK, is4(keyT4)},
		{"IPv4 ports alone", error4(turned(tcp4(t, "data"))[:24]), OK, is4(keyT4)},
		{"IPv4 ports cut", trim(error4(turned(tcp4(t, "data"))[:23])), FaultICMPQuote, Packet{}},
		{"IPv4 options in the quote", error4(turned(tcp4(t, "", opts))), OK, is4(keyT4)},
		{"IPv4 options cut", trim(error4(turned(tcp4(t, "", opts))[:24])), FaultICMPQuote, Packet{}},
		{"IPv4 first fragment quoted", error4(turned(udp4(t, "12345678", first))), OK, is4(keyU4)},
		{"IPv4 later fragment quoted", error4(turned(udp4(t, "12345678", later))), FaultICMPQuote, Packet{}},
		{"IPv4 quotes a packet to the VIP", error4(tcp4(t, "")[EthLen:]), FaultICMPQuote, Packet{}},
		{"IPv4 quotes another server", error4(foreign4), FaultICMPQuote, Packet{}},
		{"IPv4 quotes an echo", error4(turnedICMP(echo)), FaultICMPQuote, Packet{}},
		{"IPv4 quotes IPv6", error4(turned(tcp6(t, ""))), FaultICMPQuote, Packet{}},
		{"IPv4 quotes nothing", trim(error4(nil)), FaultICMPQuote, Packet{}},
		{"IPv4 quoted header length", error4(with(turned(tcp4(t, "")), 0, 0x44)), FaultICMPQuote, Packet{}},
		{"IPv4 quoted header length beyond", error4(with(turned(tcp4(t, "")), 0, 0x4f)), FaultICMPQuote, Packet{}},
		{"IPv4 error in fragments", fragmented, OK, Packet{Key: keyT4, Kind: Error, First: true, FragID: 0x1234}},
		{"IPv6 tcp", error6(turned(tcp6(t, "data"))), OK, is6(keyT6)},
		{"IPv6 udp", error6(turned(udp6(t, "data"))), OK, is6(keyU6)},
		{"IPv6 ports alone", error6(turned(tcp6(t, "data"))[:44]), OK, is6(keyT6)},
		{"IPv6 ports cut", error6(turned(tcp6(t, "data"))[:43]), FaultICMPQuote, Packet{}},
		{"IPv6 header cut", error6(turned(tcp6(t, "data"))[:39]), FaultICMPQuote, Packet{}},
		{"IPv6 extension headers in the quote", error6(quotedExt(options(nextHopByHop, 0), options(nextDestOpts, 1), auth())), OK, is6(keyT6)},
		{"IPv6 extension header cut", error6(quotedExt(options(nextDestOpts, 1))[:50]), FaultICMPQuote, Packet{}},
		{"IPv6 first fragment quoted", error6(quotedExt(fragment(0, true, 9))), OK, is6(keyT6)},
		{"IPv6 later fragment quoted", error6(quotedExt(fragment(4, true, 9))), FaultICMPQuote, Packet{}},
		{"IPv6 quotes another server", error6(foreign6), FaultICMPQuote, Packet{}},
		{"IPv6 quotes IPv4", error6(append(turned(tcp4(t, "")), make([]byte, 40)...)), FaultICMPQuote, Packet{}},
		{"IPv6 behind an extension header", extended(error6(turned(tcp6(t, ""))), options(nextDestOpts, 0)), OK, is6(keyT6)},
	})
}

// trim takes Ethernet's padding off an IPv4 frame.
func trim(eth []byte) []byte { return eth[:EthLen+int(be16(eth[16:]))] }

// turnedICMP swaps the addresses of an ICMP packet.
func turnedICMP(ip []byte) []byte {
	out := append([]byte(nil), ip...)
	swap(out[12:16], out[16:20])
	return out
}

func TestFaultNames(t *testing.T) {
	seen := map[string]bool{}
	for f := range NumFaults {
		if s := f.String(); s == "" || s == "unknown" || seen[s] {
			t.Errorf("fault %d has the name %q", f, s)
		} else {
			seen[s] = true
		}
	}
	if NumFaults.String() != "unknown" {
		t.Error("a fault that there isn't has a name")
	}
}
