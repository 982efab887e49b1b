package pktio

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Filter says which frames may enter a ring: those whose Ethernet destination
// is one of MACs and that carry IPv4 or IPv6 to one of Addrs. An empty MACs or
// Addrs lets nothing in.
//
// A frame whose VLAN tag the device took off is judged like an untagged one and
// arrives with Frame.Tagged set. A tag that still stands in the frame is not
// looked through, so such a frame does not enter.
type Filter struct {
	MACs  [][6]byte
	Addrs []netip.Addr
}

const (
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd

	offEtherType = 12
	offDst4      = 14 + 16
	offDst6      = 14 + 24
)

// Match reports whether the Ethernet frame eth may enter. It is the plain twin
// of the program that Assemble makes, for backends without a kernel and for
// tests; it looks at every address in turn.
func (f Filter) Match(eth []byte) bool {
	if len(eth) < 14 {
		return false
	}
	if !slices.ContainsFunc(f.MACs, func(m [6]byte) bool { return bytes.Equal(m[:], eth[:6]) }) {
		return false
	}
	var dst netip.Addr
	switch binary.BigEndian.Uint16(eth[offEtherType:]) {
	case etherTypeIPv4:
		if len(eth) < offDst4+4 {
			return false
		}
		dst = netip.AddrFrom4([4]byte(eth[offDst4:]))
	case etherTypeIPv6:
		if len(eth) < offDst6+16 {
			return false
		}
		dst = netip.AddrFrom16([16]byte(eth[offDst6:]))
	default:
		return false
	}
	return slices.ContainsFunc(f.Addrs, func(a netip.Addr) bool {
		// An IPv4 address written as ::ffff:a.b.c.d means the IPv4 address, in
		// the configuration; a frame's family is what its EtherType says.
		return a.Unmap().WithZone("") == dst
	})
}
