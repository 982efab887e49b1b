package neigh

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/ndp"
)

const (
	ip6Len       = 40
	icmpSolicit  = 135
	icmpAdvert   = 136
	ndpLen       = 24 // ICMPv6 header, flags, target address
	optSourceMAC = 1
	optTargetMAC = 2
)

// decodeNDP reads an IPv6 packet with a neighbour solicitation or advertisement
// and makes the checks of RFC 4861, sections 7.1.1 and 7.1.2. Options other than
// the link-layer address are skipped unread, as section 4.3 wants.
func (m *message) decodeNDP(b []byte) (Reason, bool) {
	if len(b) < ip6Len {
		return Short, false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case b[0]>>4 != 6:
		return BadIPv6, false
	case b[6] != 58:
		return NotNeighbor, false // extension headers too: nobody sends them here
	case len(b) < ip6Len+size:
		return Short, false
	case size < ndpLen:
		if size > 0 && b[ip6Len] != icmpSolicit && b[ip6Len] != icmpAdvert {
			return NotNeighbor, false
		}
		return Short, false
	}
	m.sender, m.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p := b[ip6Len : ip6Len+size]
	m.target = netip.AddrFrom16([16]byte(p[8:24]))
	want := byte(optSourceMAC)
	switch p[0] {
	case icmpSolicit:
		m.kind = ask
	case icmpAdvert:
		m.kind, want = tell, optTargetMAC
	default:
		return NotNeighbor, false
	}
	switch {
	case b[7] != ndp.HopLimit:
		return BadHopLimit, false
	case p[1] != 0:
		return BadCode, false
	case checksum6(b[8:40], p) != 0:
		return BadChecksum, false
	case m.target.IsMulticast() || m.target.Is4In6() || m.target.IsUnspecified() || m.target.IsLoopback():
		return BadTarget, false
	case !hostAddr(m.sender) && !(m.kind == ask && m.sender.IsUnspecified()):
		return BadSender, false
	}
	for o := p[ndpLen:]; len(o) > 0; {
		if len(o) < 8 || o[1] == 0 || int(o[1])*8 > len(o) {
			return BadOption, false
		}
		if o[0] == want {
			if o[1] != 1 || !unicastMAC([6]byte(o[2:8])) {
				return BadOption, false
			}
			m.mac = [6]byte(o[2:8])
		}
		o = o[int(o[1])*8:]
	}
	solicited := p[4]&0x40 != 0
	switch {
	case m.kind == tell && solicited && m.dst.IsMulticast():
		return BadTarget, false
	case m.kind == ask && m.sender.IsUnspecified() && !solicitedNode(m.dst):
		return BadTarget, false
	case m.kind == ask && m.sender.IsUnspecified() && m.mac != [6]byte{}:
		return BadSender, false
	case !unicastMAC(m.etherSrc):
		return BadMAC, false
	}
	m.toUs = m.kind == tell && solicited && m.etherDst[0]&1 == 0
	return 0, true
}

func encodeNDP(etherSrc, etherDst [6]byte, src, dst netip.Addr, msg ndp.Message) []byte {
	b, err := ndp.MarshalMessageChecksum(msg, src, dst)
	if err != nil {
		return nil // only for addresses that are not IPv6
	}
	f := make([]byte, etherLen+ip6Len, etherLen+ip6Len+len(b))
	putEther(f, etherDst, etherSrc, etherIPv6)
	ip := f[etherLen:]
	ip[0] = 6 << 4
	binary.BigEndian.PutUint16(ip[4:], uint16(len(b)))
	ip[6], ip[7] = 58, ndp.HopLimit
	s, d := src.As16(), dst.As16()
	copy(ip[8:], s[:])
	copy(ip[24:], d[:])
	return append(f, b...)
}

// advertise builds a neighbour advertisement for a VIP, from the VIP.
func advertise(etherDst, mac [6]byte, vip, dst netip.Addr, solicited bool) []byte {
	return encodeNDP(mac, etherDst, vip, dst, &ndp.NeighborAdvertisement{
		Solicited: solicited, Override: true, TargetAddress: vip,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac[:]}},
	})
}

// solicit builds a neighbour solicitation from one of our own addresses.
func solicit(etherDst, mac [6]byte, src, dst, target netip.Addr) []byte {
	return encodeNDP(mac, etherDst, src, dst, &ndp.NeighborSolicitation{
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac[:]}},
	})
}

// checksum6 sums the addresses, the length, the next header and the packet
// (RFC 8200, section 8.1). It is 0 for a correct packet.
func checksum6(addrs, p []byte) uint16 {
	sum := uint32(len(p)) + 58
	for _, b := range [][]byte{addrs, p} {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// solicitedNode tells whether a is in ff02::1:ff00:0/104.
func solicitedNode(a netip.Addr) bool {
	b := a.As16()
	return [13]byte(b[:13]) == [13]byte{0xff, 2, 11: 1, 12: 0xff}
}

// nodeGroup returns the solicited-node group of an address (RFC 4291, 2.7.1).
func nodeGroup(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// groupMAC returns the Ethernet address of an IPv6 multicast group (RFC 2464, 7).
func groupMAC(g netip.Addr) [6]byte {
	b := g.As16()
	return [6]byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

func allNodes() netip.Addr { return netip.AddrFrom16([16]byte{0xff, 2, 15: 1}) }
