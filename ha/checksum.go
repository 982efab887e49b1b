package ha

import (
	"encoding/binary"
	"net/netip"
)

// sum adds the 16-bit words of b to s (RFC 1071); an odd last byte counts as if
// a zero followed.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// pseudo is the sum of the pseudo-header: that of RFC 8200 section 8.1 for IPv6,
// and the like of it (RFC 793) for IPv4.
func pseudo(src, dst netip.Addr, n int) uint32 {
	s := sum(sum(0, src.AsSlice()), dst.AsSlice())
	return s + uint32(n) + Protocol
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// checksumOK tells whether the checksum in b is right in one of the forms met in
// the field: with the pseudo-header, for IPv4 without it (what RFC 9568 section
// 5.2.8 says), and with the group's address in place of the unicast destination
// (keepalived up to 1.3.6, or with old_unicast_checksum).
func checksumOK(b []byte, src, dst netip.Addr) bool {
	body := sum(0, b)
	if fold(body+pseudo(src, dst, len(b))) == 0 {
		return true
	}
	if dst.Is6() {
		return false
	}
	return fold(body) == 0 || fold(body+pseudo(src, Group4(), len(b))) == 0
}
