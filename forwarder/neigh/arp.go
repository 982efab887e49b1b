package neigh

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
)

const (
	etherLen  = 14
	arpLen    = 28
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

// message is a received ARP or NDP message that passed all checks.
type message struct {
	kind     kind
	etherDst [6]byte
	etherSrc [6]byte
	sender   netip.Addr // unspecified: an address probe
	mac      [6]byte    // the sender's (ask) or the target's (tell); zero: not said
	target   netip.Addr // what is asked for, or told about
	dst      netip.Addr // NDP: the IP destination
	toUs     bool       // tell: an answer addressed to one host
}

type kind uint8

const (
	ask  kind = iota // ARP request, neighbour solicitation
	tell             // ARP reply, neighbour advertisement
)

// decode reads an Ethernet frame. It never panics, whatever the bytes are.
func decode(f []byte) (m message, why Reason, ok bool) {
	if len(f) < etherLen {
		return m, Short, false
	}
	m.etherDst, m.etherSrc = [6]byte(f[0:6]), [6]byte(f[6:12])
	switch binary.BigEndian.Uint16(f[12:14]) {
	case etherARP:
		why, ok = m.decodeARP(f[etherLen:])
	case etherIPv6:
		why, ok = m.decodeNDP(f[etherLen:])
	case 0x8100, 0x88a8, 0x9100:
		why = Tagged
	default:
		why = NotNeighbor
	}
	return m, why, ok
}

// decodeARP reads an ARP packet (RFC 826). Bytes behind it are padding.
func (m *message) decodeARP(b []byte) (Reason, bool) {
	if len(b) < arpLen {
		return Short, false
	}
	// Ethernet, IPv4, and their address lengths: the codec would take any.
	if binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != 0x0800 || b[4] != 6 || b[5] != 4 {
		return BadARP, false
	}
	var p arp.Packet
	if p.UnmarshalBinary(b[:arpLen]) != nil {
		return BadARP, false
	}
	switch p.Operation {
	case arp.OperationRequest:
		m.kind = ask
	case arp.OperationReply:
		m.kind = tell
	default:
		return BadARP, false
	}
	m.sender, m.target = p.SenderIP, p.TargetIP
	m.mac = [6]byte(p.SenderHardwareAddr)
	if !unicastMAC(m.mac) {
		return BadMAC, false
	}
	if !hostAddr(m.sender) && !(m.kind == ask && m.sender.IsUnspecified()) {
		return BadSender, false
	}
	// A reply tells about its sender; whom it tells is in the target.
	if m.kind == tell {
		m.toUs = m.sender != m.target && m.etherDst[0]&1 == 0
		m.target = m.sender
	}
	return 0, true
}

// encodeARP builds a frame. macs and addresses are sender's, then target's.
func encodeARP(op arp.Operation, etherSrc, etherDst, mac [6]byte, ip netip.Addr, targetMAC [6]byte, targetIP netip.Addr) []byte {
	p, err := arp.NewPacket(op, mac[:], ip, targetMAC[:], targetIP)
	if err != nil {
		return nil // only for addresses that are not IPv4
	}
	b, _ := p.MarshalBinary() // never fails
	f := make([]byte, etherLen, etherLen+len(b))
	putEther(f, etherDst, etherSrc, etherARP)
	return append(f, b...)
}

func putEther(f []byte, dst, src [6]byte, proto uint16) {
	copy(f[0:6], dst[:])
	copy(f[6:12], src[:])
	binary.BigEndian.PutUint16(f[12:14], proto)
}

// unicastMAC tells whether a frame can be sent to this one host.
func unicastMAC(m [6]byte) bool { return m[0]&1 == 0 && m != [6]byte{} }

// hostAddr tells whether an address can be one host's on a network.
func hostAddr(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func macString(m [6]byte) string { return net.HardwareAddr(m[:]).String() }
