// Package frame reads Ethernet frames in place: header views over []byte, the
// key of the connection that a packet belongs to, and the change of the two
// Ethernet addresses that direct routing consists of. It keeps nothing and
// allocates nothing; every function is safe for concurrent use on different frames.
package frame

import "encoding/binary"

// Ethernet (IEEE 802.3).
const (
	EthLen       = 14
	EtherIPv4    = 0x0800
	EtherIPv6    = 0x86dd
	EtherARP     = 0x0806
	EtherVLAN    = 0x8100
	EtherQinQ    = 0x88a8
	EtherOldQinQ = 0x9100
)

// MAC is an Ethernet address.
type MAC [6]byte

// EtherType returns the type field. eth holds at least EthLen bytes.
func EtherType(eth []byte) uint16 { return be16(eth[12:]) }

// Addresses are the first 12 bytes of a frame: destination, then source.
type Addresses [12]byte

// MakeAddresses joins two MACs as they stand in a frame.
func MakeAddresses(dst, src MAC) (a Addresses) {
	copy(a[:6], dst[:])
	copy(a[6:], src[:])
	return a
}

// Rewrite puts the addresses on a frame of at least EthLen bytes. It is all that
// direct routing changes.
func Rewrite(eth []byte, a *Addresses) { copy(eth[:12], a[:]) }

func be16(b []byte) uint16     { return binary.BigEndian.Uint16(b) }
func be32(b []byte) uint32     { return binary.BigEndian.Uint32(b) }
func be64(b []byte) uint64     { return binary.BigEndian.Uint64(b) }
func put16(b []byte, v uint16) { binary.BigEndian.PutUint16(b, v) }
func put64(b []byte, v uint64) { binary.BigEndian.PutUint64(b, v) }
