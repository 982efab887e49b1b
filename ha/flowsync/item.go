package flowsync

import (
	"encoding/binary"
	"net/netip"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// A data datagram's payload is a row of items. The first byte tells an item's sort
// and so its length. Numbers are big-endian.
//
//	record  state (low 4 bits) | 0x10 if IPv6, name (3 bytes), milliseconds to live (4),
//	        client port (2), service port (2), client address (4 or 16)
//	name    0x80 | 1 if the VIP is IPv6 | 2 if the server is, number (3), protocol (1),
//	        first port (2), VIP (4 or 16), server (4 or 16)
//	begin   0x90, flags (1), want (4): a pass through the table begins
//	end     0xa0, flags (1), want (4): it ends
//
// A record's VIP and protocol are those of its name.
const (
	itemName  = 0x80
	itemBegin = 0x90
	itemEnd   = 0xa0

	v6Record = 0x10
	v6VIP    = 1
	v6Server = 2

	recordLen4 = 1 + 3 + 4 + 2 + 2 + 4
	recordLen6 = recordLen4 + 12
	maxNameLen = 1 + 3 + 1 + 2 + 16 + 16
	passLen    = 1 + 1 + 4

	maxNames = 1 << 20
)

// Flags of begin and end.
const (
	passAudit = 1 << iota // nothing is known to be missing
	passWhole             // what is not told has ended
)

type item struct {
	sort byte // 0 for a record, or one of the above
	record
	id    Identity // of a name; its number is record.name
	flags byte
	want  uint32
}

type record struct {
	state        flow.State
	v6           bool
	name         uint32
	left         uint32 // milliseconds
	srcHi, srcLo uint64
	src, dst     uint16 // ports
}

const mapped = 0xffff << 32 // IPv4 addresses in a key are IPv4-mapped

func (r *record) append(b []byte) []byte {
	head := byte(r.state)
	if r.v6 {
		head |= v6Record
	}
	b = append24(append(b, head), r.name)
	b = binary.BigEndian.AppendUint32(b, r.left)
	b = binary.BigEndian.AppendUint16(b, r.src)
	b = binary.BigEndian.AppendUint16(b, r.dst)
	if r.v6 {
		b = binary.BigEndian.AppendUint64(b, r.srcHi)
		return binary.BigEndian.AppendUint64(b, r.srcLo)
	}
	return binary.BigEndian.AppendUint32(b, uint32(r.srcLo))
}

func appendName(b []byte, number uint32, id *Identity) []byte {
	head := byte(itemName)
	if id.VIP.Is6() {
		head |= v6VIP
	}
	if id.Server.Is6() {
		head |= v6Server
	}
	b = append(append24(append(b, head), number), id.Proto)
	b = binary.BigEndian.AppendUint16(b, id.Port)
	b = appendAddr(b, id.VIP)
	return appendAddr(b, id.Server)
}

// appendAddr is what AppendBinary does, without a zone.
func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		x := a.As4()
		return append(b, x[:]...)
	}
	x := a.As16()
	return append(b, x[:]...)
}

func appendPass(b []byte, sort, flags byte, want uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, sort, flags), want)
}

func append24(b []byte, n uint32) []byte { return append(b, byte(n>>16), byte(n>>8), byte(n)) }

func get24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

// next reads the first item of a payload into it and returns the rest. It fails on
// what no sender of this version writes; whatever it accepts, append would write
// the same way.
func (it *item) next(p []byte) (rest []byte, ok bool) {
	if len(p) == 0 {
		return nil, false
	}
	switch head := p[0]; head {
	case itemBegin, itemEnd:
		if len(p) < passLen || p[1]&^(passAudit|passWhole) != 0 {
			return nil, false
		}
		it.sort, it.flags, it.want = head, p[1], binary.BigEndian.Uint32(p[2:])
		return p[passLen:], true
	case itemName, itemName | v6VIP, itemName | v6Server, itemName | v6VIP | v6Server:
		return it.readName(p)
	default:
		return it.readRecord(p)
	}
}

func (it *item) readName(p []byte) (rest []byte, ok bool) {
	const fixed = 1 + 3 + 1 + 2
	vip, server := 4, 4
	if p[0]&v6VIP != 0 {
		vip = 16
	}
	if p[0]&v6Server != 0 {
		server = 16
	}
	if len(p) < fixed+vip+server {
		return nil, false
	}
	it.sort, it.name = itemName, get24(p[1:])
	it.id.Proto, it.id.Port = p[4], binary.BigEndian.Uint16(p[5:])
	p = p[fixed:]
	it.id.VIP, _ = netip.AddrFromSlice(p[:vip])
	it.id.Server, _ = netip.AddrFromSlice(p[vip : vip+server])
	return p[vip+server:], it.name < maxNames && !it.id.VIP.Is4In6() && !it.id.Server.Is4In6()
}

func (it *item) readRecord(p []byte) (rest []byte, ok bool) {
	head, n := p[0], recordLen4
	if head&v6Record != 0 {
		n = recordLen6
	}
	if len(p) < n {
		return nil, false
	}
	it.sort = 0
	it.record = record{
		state: flow.State(head & 0xf), v6: head&v6Record != 0,
		name: get24(p[1:]), left: binary.BigEndian.Uint32(p[4:]),
		src: binary.BigEndian.Uint16(p[8:]), dst: binary.BigEndian.Uint16(p[10:]),
	}
	if it.v6 {
		it.srcHi, it.srcLo = binary.BigEndian.Uint64(p[12:]), binary.BigEndian.Uint64(p[20:])
	} else {
		it.srcLo = mapped | uint64(binary.BigEndian.Uint32(p[12:]))
	}
	ok = head&^(v6Record|0xf) == 0 && carried(it.state) &&
		it.name < maxNames && it.left > 0 && it.left < 1<<31
	return p[n:], ok
}

// carried tells whether entries in that state are synchronised: all but fragments,
// which are over before a backup could take over.
func carried(s flow.State) bool { return s >= flow.Established && s <= flow.Template }
