package frame

import (
	"math/bits"
	"net/netip"
)

// Key names one connection in the direction that a director sees: from the
// client to the VIP. IPv4 addresses are IPv4-mapped (::ffff:a.b.c.d), so one
// shape serves both families. Keys are values and compare with ==.
//
// Tail holds, from the top: source port (16 bits), destination port (16),
// protocol (8), Kind (8), and 16 zero bits. A fragment's key has the 32-bit
// identification in the place of the ports.
type Key struct {
	SrcHi, SrcLo uint64
	DstHi, DstLo uint64
	Tail         uint64
}

// KeyKind keeps keys of different meaning apart in one table.
type KeyKind uint8

const (
	KeyFlow     KeyKind = iota // a connection
	KeyTemplate                // persistence: client network to service
	KeyFragment                // the fragments of one packet
)

// Protocol numbers (IANA).
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
)

const mapped = 0xffff << 32 // upper half of the low word of ::ffff:0:0/96

// Tail packs the last word of a key.
func Tail(srcPort, dstPort uint16, proto uint8, kind KeyKind) uint64 {
	return uint64(srcPort)<<48 | uint64(dstPort)<<32 | uint64(proto)<<24 | uint64(kind)<<16
}

// FragmentTail is Tail for the fragments of the packet with that identification.
func FragmentTail(id uint32, proto uint8) uint64 {
	return uint64(id)<<32 | uint64(proto)<<24 | uint64(KeyFragment)<<16
}

// MakeKey builds the key of a connection.
func MakeKey(src, dst netip.AddrPort, proto uint8) Key {
	k := Key{Tail: Tail(src.Port(), dst.Port(), proto, KeyFlow)}
	k.SrcHi, k.SrcLo = Words(src.Addr())
	k.DstHi, k.DstLo = Words(dst.Addr())
	return k
}

// Words returns an address as the two words that a Key holds.
func Words(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return be64(b[:]), be64(b[8:])
}

// Addr is the inverse of Words: IPv4-mapped words give a plain IPv4 address.
func Addr(hi, lo uint64) netip.Addr {
	if isMapped(hi, lo) {
		return netip.AddrFrom4([4]byte{byte(lo >> 24), byte(lo >> 16), byte(lo >> 8), byte(lo)})
	}
	var b [16]byte
	put64(b[:], hi)
	put64(b[8:], lo)
	return netip.AddrFrom16(b)
}

// Src returns the client's address.
func (k *Key) Src() netip.Addr { return Addr(k.SrcHi, k.SrcLo) }

// Dst returns the VIP.
func (k *Key) Dst() netip.Addr { return Addr(k.DstHi, k.DstLo) }

// SrcPort returns the client's port, in host order.
func (k *Key) SrcPort() uint16 { return uint16(k.Tail >> 48) }

// DstPort returns the service's port, in host order.
func (k *Key) DstPort() uint16 { return uint16(k.Tail >> 32) }

// Proto returns the protocol number.
func (k *Key) Proto() uint8 { return uint8(k.Tail >> 24) }

// Kind returns what the key stands for.
func (k *Key) Kind() KeyKind { return KeyKind(k.Tail >> 16) }

// Is4 tells whether the connection is IPv4.
func (k *Key) Is4() bool { return isMapped(k.DstHi, k.DstLo) }

func isMapped(hi, lo uint64) bool { return hi == 0 && lo>>32 == 0xffff }

// Template returns the key under which a service's persistence remembers the
// client: its address cut to the mask (two words as from MaskWords), the VIP and
// the service's first port.
func (k *Key) Template(maskHi, maskLo uint64, proto uint8, port uint16) Key {
	return Key{
		SrcHi: k.SrcHi & maskHi, SrcLo: k.SrcLo & maskLo,
		DstHi: k.DstHi, DstLo: k.DstLo,
		Tail: Tail(0, port, proto, KeyTemplate),
	}
}

// MaskWords returns the mask of a prefix length as two words; for IPv4 the
// mapped part is kept whole.
func MaskWords(ones int, v4 bool) (hi, lo uint64) {
	if v4 {
		ones += 96
	}
	switch {
	case ones <= 0:
		return 0, 0
	case ones <= 64:
		return ^uint64(0) << (64 - ones), 0
	case ones >= 128:
		return ^uint64(0), ^uint64(0)
	}
	return ^uint64(0), ^uint64(0) << (128 - ones)
}

// Seed is the secret that keys Hash, so that nobody outside can aim many flows at
// one bucket. Draw it at random.
type Seed [6]uint64

// Hash spreads a key over 64 bits by multiply-and-fold. It is not for values that
// two machines must agree on.
func (k *Key) Hash(s *Seed) uint64 { return spread(addresses(k, s), k.Tail, s) }

// Hashes fills in the hash of each packet's key, several at a time under way. to
// is as long as packets.
func Hashes(packets []Packet, s *Seed, to []uint64) {
	to = to[:len(packets)]
	for i := range packets {
		k := &packets[i].Key
		to[i] = spread(addresses(k, s), k.Tail, s)
	}
}

func addresses(k *Key, s *Seed) uint64 {
	return fold(k.SrcHi^s[0], k.SrcLo^s[1]) ^ bits.RotateLeft64(fold(k.DstHi^s[2], k.DstLo^s[3]), 29)
}

// spread adds the last word. The port stands in its top bits and one fold alone
// brings it to the top bits only, for some seeds; the second one spreads it over
// all 64.
func spread(h, tail uint64, s *Seed) uint64 {
	return fold(fold(h^s[4], tail^s[5]), 0x9e3779b97f4a7c15)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
