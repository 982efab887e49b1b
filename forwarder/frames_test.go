package forwarder

import (
	"encoding/binary"
	"net/netip"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// Frames for tests, built by hand. Package frame has its own, made by gopacket;
// here only what the core looks at must be right.

const (
	fin, syn, rst, psh, ack = frame.FIN, frame.SYN, frame.RST, 0x08, frame.ACK
)

var routerMACs = []byte{2, 0xe, 0, 0, 0, 1, 2, 0xf, 0, 0, 0, 1}

// ip makes a whole frame of an IP packet.
func ip(src, dst netip.Addr, proto uint8, payload []byte) []byte {
	eth := append([]byte(nil), routerMACs...)
	if dst.Is4() {
		eth = append(eth, 8, 0, 0x45, 0)
		eth = binary.BigEndian.AppendUint16(eth, uint16(20+len(payload)))
		eth = append(eth, 0x12, 0x34, 0, 0, 61, proto, 0, 0)
		eth = append(append(eth, src.AsSlice()...), dst.AsSlice()...)
		return append(checksum4(eth), payload...)
	}
	eth = append(eth, 0x86, 0xdd, 0x60, 0, 0, 0)
	eth = binary.BigEndian.AppendUint16(eth, uint16(len(payload)))
	eth = append(eth, proto, 61)
	eth = append(append(eth, src.AsSlice()...), dst.AsSlice()...)
	return append(eth, payload...)
}

func checksum4(eth []byte) []byte {
	eth[24], eth[25] = 0, 0
	binary.BigEndian.PutUint16(eth[24:], ^sum(eth[14:34], 0))
	return eth
}

// sum is the Internet checksum, the slow way.
func sum(b []byte, start int) uint16 {
	n := start
	for i, x := range b {
		if i%2 == 0 {
			n += int(x) << 8
		} else {
			n += int(x)
		}
		n = n&0xffff + n>>16
	}
	return uint16(n)
}

func ends(src, dst string) (s, d netip.AddrPort) {
	return netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
}

// tcp makes a segment: tcp("198.51.100.1:1000", "192.0.2.100:80", syn).
func tcp(src, dst string, flags uint8) []byte {
	s, d := ends(src, dst)
	return tcpOf(s, d, flags)
}

func tcpOf(s, d netip.AddrPort, flags uint8) []byte {
	l4 := binary.BigEndian.AppendUint16(nil, s.Port())
	l4 = binary.BigEndian.AppendUint16(l4, d.Port())
	l4 = append(l4, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 16, 0, 0xab, 0xcd, 0, 0)
	return ip(s.Addr(), d.Addr(), frame.ProtoTCP, append(l4, "payload"...))
}

func udp(src, dst string) []byte {
	s, d := ends(src, dst)
	return udpOf(s, d)
}

func udpOf(s, d netip.AddrPort) []byte {
	l4 := binary.BigEndian.AppendUint16(nil, s.Port())
	l4 = binary.BigEndian.AppendUint16(l4, d.Port())
	l4 = append(l4, 0, 36, 0xab, 0xcd)
	return ip(s.Addr(), d.Addr(), frame.ProtoUDP, append(l4, "question, question, question"...))
}

// echo makes an echo request.
func echo(src, dst string) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	icmp := append([]byte{8, 0, 0, 0, 0, 7, 0, 9}, "abcdefg"...)
	if d.Is4() {
		binary.BigEndian.PutUint16(icmp[2:], ^sum(icmp, 0))
		return ip(s, d, 1, icmp)
	}
	icmp[0] = 128
	return checksum6(ip(s, d, 58, icmp))
}

// checksum6 computes the ICMPv6 checksum of a frame without extension headers.
func checksum6(eth []byte) []byte {
	icmp := eth[54:]
	icmp[2], icmp[3] = 0, 0
	pseudo := sum(eth[22:54], len(icmp)+58)
	binary.BigEndian.PutUint16(icmp[2:], ^sum(icmp, int(pseudo)))
	return eth
}

// wantReply is the reply to an echo request, put together from the request.
func wantReply(request []byte) []byte {
	out := append([]byte(nil), request...)
	copy(out, request[6:12])
	copy(out[6:], clientMAC[:])
	if request[12] == 8 {
		copy(out[26:], request[30:34])
		copy(out[30:], request[26:30])
		out[22] = frame.ReplyTTL
		out[34] = 0
		out[36], out[37] = 0, 0
		binary.BigEndian.PutUint16(out[36:], ^sum(out[34:], 0))
		return checksum4(out)
	}
	copy(out[22:], request[38:54])
	copy(out[38:], request[22:38])
	out[21] = frame.ReplyTTL
	out[54] = 129
	return checksum6(out)
}

// icmpError makes an error of a router about the reply to a client's frame.
func icmpError(about []byte, typ uint8) []byte {
	quote := append([]byte(nil), about[14:]...)
	head := []byte{typ, 0, 0xaa, 0xbb, 0, 0, 5, 0}
	if quote[0]>>4 == 4 {
		turn(quote[12:16], quote[16:20])
		turn(quote[20:22], quote[22:24])
		vip, _ := netip.AddrFromSlice(about[30:34])
		return ip(netip.MustParseAddr("203.0.113.9"), vip, 1, append(head, quote[:28]...))
	}
	turn(quote[8:24], quote[24:40])
	turn(quote[40:42], quote[42:44])
	vip, _ := netip.AddrFromSlice(about[38:54])
	return ip(netip.MustParseAddr("2001:db8:ffff::9"), vip, 58, append(head, quote...))
}

func turn(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// fragments cuts a frame's payload in two: the first piece carries the transport
// header.
func fragments(eth []byte, id uint16) (first, later []byte) {
	if eth[12] == 8 {
		cut := 34 + 24
		first, later = append([]byte(nil), eth[:cut]...), append(append([]byte(nil), eth[:34]...), eth[cut:]...)
		for _, f := range [][]byte{first, later} {
			binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
			binary.BigEndian.PutUint16(f[18:], id)
		}
		first[20], later[21] = 0x20, 3
		return checksum4(first), checksum4(later)
	}
	make6 := func(payload []byte, field uint16) []byte {
		head := []byte{eth[20], 0}
		head = binary.BigEndian.AppendUint16(head, field)
		head = binary.BigEndian.AppendUint32(head, uint32(id)<<8)
		out := append(append([]byte(nil), eth[:54]...), append(head, payload...)...)
		out[20] = 44
		binary.BigEndian.PutUint16(out[18:], uint16(len(out)-54))
		return out
	}
	return make6(eth[54:78], 1), make6(eth[78:], 3<<3)
}

func with(eth []byte, at int, b ...byte) []byte {
	out := append([]byte(nil), eth...)
	copy(out[at:], b)
	return out
}

// inserted puts bytes into a frame.
func inserted(eth []byte, at int, b ...byte) []byte {
	return append(append(append([]byte(nil), eth[:at]...), b...), eth[at:]...)
}
