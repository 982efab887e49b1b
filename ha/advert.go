package ha

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

const (
	// Protocol is VRRP's IP protocol number.
	Protocol = 112
	// MaxInterval is the longest advertisement interval that fits the packet.
	MaxInterval = 4095 * Centisecond
	// Centisecond is the unit of intervals on the wire.
	Centisecond = 10 * time.Millisecond

	version    = 3
	typeAdvert = 1
	typeHello  = 2 // ours, never sent without a seal; others discard unknown types
	headerLen  = 8

	maxAddrs4 = 255 // as many as the count can say
	maxAddrs6 = 64  // as many as fit 1500 bytes with the longest seal
)

// Group4 is where IPv4 advertisements go, 224.0.0.18.
func Group4() netip.Addr { return netip.AddrFrom4([4]byte{224, 0, 0, 18}) }

// Group6 is where IPv6 advertisements go, ff02::12.
func Group6() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12})
}

// Advert is one VRRPv3 advertisement (RFC 9568 section 5.1).
type Advert struct {
	VRID     uint8
	Priority uint8         // 0: the sender stops; 255: it owns the addresses
	Interval time.Duration // 10 ms to MaxInterval; cut to whole hundredths of a second
	Addrs    []netip.Addr  // all of the packet's family
	Hello    bool          // not an advertisement: a backup's sign of life, only with a seal
}

// Checksum says which form is sent over IPv4. All forms are accepted. IPv6
// always has the pseudo-header.
type Checksum uint8

const (
	// ChecksumPseudoHeader is what keepalived, FRR and tcpdump expect.
	ChecksumPseudoHeader Checksum = iota
	// ChecksumPlain is what RFC 9568 section 5.2.8 says, and Cisco and Juniper do.
	ChecksumPlain
	// ChecksumGroup has the group's address in the pseudo-header of unicast packets
	// too: what keepalived up to 1.3.6 did, and does with old_unicast_checksum.
	ChecksumGroup
)

// Append appends the packet without a seal to b: the payload of an IP packet
// from src to dst.
func (a *Advert) Append(b []byte, src, dst netip.Addr, form Checksum) []byte {
	start := len(b)
	b = a.appendBody(b)
	finish(b[start:], src, dst, form)
	return b
}

func (a *Advert) appendBody(b []byte) []byte {
	kind := byte(typeAdvert)
	if a.Hello {
		kind = typeHello
	}
	cs := min(max(a.Interval/Centisecond, 1), 4095)
	b = append(b, version<<4|kind, a.VRID, a.Priority, byte(len(a.Addrs)), byte(cs>>8), byte(cs), 0, 0)
	for _, addr := range a.Addrs {
		b = append(b, addr.AsSlice()...)
	}
	return b
}

// finish writes the checksum over all of b.
func finish(b []byte, src, dst netip.Addr, form Checksum) {
	b[6], b[7] = 0, 0
	s := sum(0, b)
	switch {
	case dst.Is6() || form == ChecksumPseudoHeader:
		s += pseudo(src, dst, len(b))
	case form == ChecksumGroup:
		s += pseudo(src, Group4(), len(b))
	}
	binary.BigEndian.PutUint16(b[6:], fold(s))
}

// Parse reads the payload of an IP packet from src to dst, both of one family.
// rest is what follows the address list; without a key there must be none
// (TrailingBytes). Only OK and Hello leave a valid Advert; its Addrs are a copy.
// TTL, VRID and peers are the caller's to check.
func Parse(b []byte, src, dst netip.Addr) (a Advert, rest []byte, why Reason) {
	switch {
	case len(b) < headerLen:
		return a, nil, Truncated
	case b[0]>>4 != version:
		return a, nil, BadVersion
	}
	size := 4
	if src.Is6() {
		size = 16
	}
	count := int(b[3])
	end := headerLen + count*size
	switch kind := b[0] & 15; {
	case kind != typeAdvert && kind != typeHello:
		return a, nil, BadType
	case len(b) < end:
		return a, nil, Truncated
	case !checksumOK(b, src, dst):
		return a, nil, BadChecksum
	case kind == typeAdvert && count == 0:
		return a, nil, BadCount
	case kind == typeHello && count != 0:
		return a, nil, BadCount
	}
	// The four bits before the interval are reserved and ignored on receipt.
	cs := time.Duration(binary.BigEndian.Uint16(b[4:]) & 0x0fff)
	if cs == 0 {
		return a, nil, BadInterval
	}
	a = Advert{VRID: b[1], Priority: b[2], Interval: cs * Centisecond, Hello: b[0]&15 == typeHello}
	for i := headerLen; i < end; i += size {
		addr, _ := netip.AddrFromSlice(b[i : i+size])
		a.Addrs = append(a.Addrs, addr)
	}
	why = OK
	if a.Hello {
		why = Hello
	}
	return a, b[end:], why
}

// parsePlain is Parse without a key: nothing may follow, and hellos are unknown.
func parsePlain(b []byte, src, dst netip.Addr) (Advert, Reason) {
	a, rest, why := Parse(b, src, dst)
	switch {
	case why == Hello:
		return Advert{}, BadType
	case why == OK && len(rest) > 0:
		return Advert{}, TrailingBytes
	}
	return a, why
}

func (a Advert) String() string {
	return fmt.Sprintf("vrid %d priority %d interval %v addresses %v", a.VRID, a.Priority, a.Interval, a.Addrs)
}
