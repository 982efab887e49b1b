package frame

// ReplyTTL is the TTL or hop limit of the replies that a director makes itself.
const ReplyTTL = 64

// EchoReply turns the echo request that p was parsed from into its reply, in
// place: Ethernet and IP addresses change sides, the checksums are computed
// anew. src becomes the Ethernet source. The request is whole (not p.First).
func EchoReply(eth []byte, p *Packet, src MAC) {
	copy(eth[0:6], eth[6:12])
	copy(eth[6:12], src[:])
	ip := eth[EthLen:]
	icmp := eth[p.L4:p.End]
	icmp[2], icmp[3] = 0, 0
	if p.V6 {
		swap(ip[8:24], ip[24:40])
		ip[7] = ReplyTTL
		icmp[0] = icmp6EchoReply
		sum := sum16(ip[8:40], uint32(len(icmp))+ProtoICMPv6)
		put16(icmp[2:], ^fold16(sum16(icmp, sum)))
		return
	}
	swap(ip[12:16], ip[16:20])
	ip[8] = ReplyTTL
	ip[10], ip[11] = 0, 0
	put16(ip[10:], ^fold16(sum16(ip[:p.L4-EthLen], 0)))
	icmp[0] = icmpEchoReply
	put16(icmp[2:], ^fold16(sum16(icmp, 0)))
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// sum16 adds b to the Internet checksum (RFC 1071), unfolded. b is at most 64 KiB,
// so 32 bits hold the sum.
func sum16(b []byte, sum uint32) uint32 {
	for len(b) >= 2 {
		sum += uint32(be16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold16(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
