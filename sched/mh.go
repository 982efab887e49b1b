package sched

import (
	"encoding/binary"
	"net/netip"

	"github.com/dchest/siphash"
)

// mh is Maglev hashing: a large table filled by maglevTable and indexed by the
// SipHash of the source address and, with mh-port, the source port. When a
// server comes or goes few sources change theirs.
//
// A quiesced server has no entry, so its sources spread over the others: the
// table depends on nothing but IDs, weights and key, and a director that was
// restarted has the same one as its peer. (IPVS leaves such a server the entries
// of its last weight and refuses those sources.) A source whose server is
// overloaded gets None unless the fallback flag is set.
type mh struct {
	servers
	order          []int // by ID
	table          []uint16
	k0, k1         uint64
	port, fallback bool
}

// walk is how many entries a fallback tries before it goes through the servers
// one by one, which finds a light server among many overloaded heavy ones in a
// bounded time.
const walk = 256

func newMH(s servers, backends []Backend, set settings) (Scheduler, error) {
	size := set.tableSize
	if size == 0 {
		size = defaultTable
	}
	order := byID(backends)
	table, err := maglevTable(backends, order, set.key, size)
	if err != nil {
		return nil, err
	}
	m := &mh{servers: s, order: order, table: table, port: set.port, fallback: set.fallback}
	m.k0, m.k1 = halves(set.key)
	return m, nil
}

func (m *mh) Pick(f *Flow) int { return m.Peek(f) }

func (m *mh) Peek(f *Flow) int {
	if m.table == nil {
		return None
	}
	port := uint16(0)
	if m.port {
		port = f.SrcPort
	}
	h := hashAddr(m.k0, m.k1, f.Src, port)
	size := uint64(len(m.table))
	at := h % size
	i := int(m.table[at])
	if m.servers[i].open() {
		return i
	}
	if !m.fallback {
		return None
	}
	// Steps of a width of its own for each flow spread an overloaded server's
	// sources over all others by weight. The size is prime, so a walk does not
	// come back to where it was.
	step := h>>32%(size-1) + 1
	for range walk {
		at = (at + step) % size
		if i := int(m.table[at]); m.servers[i].open() {
			return i
		}
	}
	n := len(m.order)
	first := int(h % uint64(n))
	for j := range n {
		if i := m.order[(first+j)%n]; m.servers[i].open() {
			return i
		}
	}
	return None
}

func halves(key [16]byte) (k0, k1 uint64) {
	return binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
}

func hashAddr(k0, k1 uint64, a netip.Addr, port uint16) uint64 {
	var b [18]byte
	ip := a.As16()
	copy(b[:], ip[:])
	binary.BigEndian.PutUint16(b[16:], port)
	return siphash.Hash(k0, k1, b[:])
}
