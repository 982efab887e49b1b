package frame

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The pieces that test frames are made of, most of them by gopacket.

var (
	testDst = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	testSrc = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

const (
	client4, vip4 = "198.51.100.7", "192.0.2.100"
	client6, vip6 = "2001:db8:9::7", "2001:db8:1::100"
)

func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), buf.Bytes()...)
}

func ether(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{DstMAC: testDst, SrcMAC: testSrc, EthernetType: typ}
}

func ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TTL: 61, Id: 0x1234, Protocol: proto,
		SrcIP: net.ParseIP(client4).To4(), DstIP: net.ParseIP(vip4).To4(),
	}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{
		Version: 6, HopLimit: 61, NextHeader: next,
		SrcIP: net.ParseIP(client6), DstIP: net.ParseIP(vip6),
	}
}

// tcp returns a segment from port 40000 to 80.
func tcp(n gopacket.NetworkLayer) *layers.TCP {
	l := &layers.TCP{SrcPort: 40000, DstPort: 80, SYN: true, Window: 1000,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}}}}
	_ = l.SetNetworkLayerForChecksum(n)
	return l
}

// udp returns a datagram from port 40000 to 53.
func udp(n gopacket.NetworkLayer) *layers.UDP {
	l := &layers.UDP{SrcPort: 40000, DstPort: 53}
	_ = l.SetNetworkLayerForChecksum(n)
	return l
}

func tcp4(t testing.TB, payload string, change ...func(*layers.IPv4)) []byte {
	ip := ip4(layers.IPProtocolTCP)
	for _, f := range change {
		f(ip)
	}
	return serialize(t, ether(layers.EthernetTypeIPv4), ip, tcp(ip), gopacket.Payload(payload))
}

func udp4(t testing.TB, payload string, change ...func(*layers.IPv4)) []byte {
	ip := ip4(layers.IPProtocolUDP)
	for _, f := range change {
		f(ip)
	}
	return serialize(t, ether(layers.EthernetTypeIPv4), ip, udp(ip), gopacket.Payload(payload))
}

func tcp6(t testing.TB, payload string) []byte {
	ip := ip6(layers.IPProtocolTCP)
	return serialize(t, ether(layers.EthernetTypeIPv6), ip, tcp(ip), gopacket.Payload(payload))
}

func udp6(t testing.TB, payload string) []byte {
	ip := ip6(layers.IPProtocolUDP)
	return serialize(t, ether(layers.EthernetTypeIPv6), ip, udp(ip), gopacket.Payload(payload))
}

// ext is one IPv6 extension header without its first byte.
type ext struct {
	number byte
	rest   []byte
}

func options(number byte, n int) ext { // 8*(n+1) bytes of padding options
	rest := make([]byte, 7+8*n)
	rest[0] = byte(n)
	left := len(rest) - 1
	at := 1
	for left > 0 {
		size := min(left, 250)
		if left-size == 1 {
			size--
		}
		rest[at] = 1 // PadN
		rest[at+1] = byte(size - 2)
		at += size
		left -= size
	}
	return ext{number, rest}
}

func routing(segmentsLeft byte) ext {
	rest := make([]byte, 7)
	rest[1], rest[2] = 4, segmentsLeft
	return ext{nextRouting, rest}
}

func auth() ext { // 24 bytes
	rest := make([]byte, 23)
	rest[0] = 4
	return ext{nextAuth, rest}
}

func fragment(offset uint16, more bool, id uint32) ext {
	rest := make([]byte, 7)
	field := offset << 3
	if more {
		field |= 1
	}
	binary.BigEndian.PutUint16(rest[1:], field)
	binary.BigEndian.PutUint32(rest[3:], id)
	return ext{nextFragment, rest}
}

// extended puts extension headers into an IPv6 frame.
func extended(eth []byte, exts ...ext) []byte {
	const at = EthLen + 40
	next := eth[EthLen+6]
	var chain []byte
	for i, e := range exts {
		following := next
		if i+1 < len(exts) {
			following = exts[i+1].number
		}
		chain = append(append(chain, following), e.rest...)
	}
	out := append(append(append([]byte(nil), eth[:at]...), chain...), eth[at:]...)
	out[EthLen+6] = exts[0].number
	binary.BigEndian.PutUint16(out[EthLen+4:], uint16(len(out)-at))
	return out
}

// tagged puts VLAN tags of the given types into a frame.
func tagged(eth []byte, types ...uint16) []byte {
	out := append([]byte(nil), eth[:12]...)
	for _, typ := range types {
		out = binary.BigEndian.AppendUint16(out, typ)
		out = append(out, 0, 7)
	}
	return append(out, eth[12:]...)
}

// with returns a copy with one byte changed.
func with(eth []byte, at int, b byte) []byte {
	out := append([]byte(nil), eth...)
	out[at] = b
	return out
}

func flowKey(src string, sport uint16, dst string, dport uint16, proto uint8) Key {
	return MakeKey(netip.AddrPortFrom(netip.MustParseAddr(src), sport),
		netip.AddrPortFrom(netip.MustParseAddr(dst), dport), proto)
}

func fragmentKey(src, dst string, id uint32, proto uint8) Key {
	k := flowKey(src, 0, dst, 0, 0)
	k.Tail = FragmentTail(id, proto)
	return k
}

// icmp4 returns an ICMP message to the VIP from a router.
func icmp4(t testing.TB, typ, code uint8, body []byte) []byte {
	ip := ip4(layers.IPProtocolICMPv4)
	ip.SrcIP = net.IP{203, 0, 113, 1}
	return serialize(t, ether(layers.EthernetTypeIPv4), ip,
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}, gopacket.Payload(body))
}

func icmp6(t testing.TB, typ, code uint8, body []byte) []byte {
	ip := ip6(layers.IPProtocolICMPv6)
	ip.SrcIP = net.ParseIP("2001:db8:ffff::1")
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
	_ = l.SetNetworkLayerForChecksum(ip)
	return serialize(t, ether(layers.EthernetTypeIPv6), ip, l, gopacket.Payload(body))
}

// turned swaps the sides of a TCP or UDP frame without options and returns its IP
// packet: what the VIP's server sent to the client, as an ICMP error quotes it.
func turned(eth []byte) []byte {
	ip := append([]byte(nil), eth[EthLen:]...)
	at := 20
	if ip[0]>>4 == 6 {
		swap(ip[8:24], ip[24:40])
		at = 40
	} else {
		swap(ip[12:16], ip[16:20])
		at = int(ip[0]&0xf) * 4
	}
	swap(ip[at:at+2], ip[at+2:at+4])
	return ip
}

// quote6 has the 4 bytes between the ICMPv6 checksum and the quote.
func quote6(ip []byte) []byte { return append([]byte{0, 0, 5, 0}, ip...) }
