package sched

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// server is the part of a Backend that a pick looks at, small so that a scan
// over many touches little memory besides their Loads.
type server struct {
	load   *Load
	weight int64
}

// open tells whether the server may have a new connection.
func (s *server) open() bool { return s.weight > 0 && !s.load.Overloaded() }

// servers has the order, and so the indices, of the slice given to New.
type servers []server

func newServers(backends []Backend) servers {
	s := make(servers, len(backends))
	for i, b := range backends {
		s[i] = server{load: b.Load, weight: int64(b.Weight)}
	}
	return s
}

// names returns the backends' IDs by index.
func names(backends []Backend) []string {
	ids := make([]string, len(backends))
	for i := range backends {
		ids[i] = backends[i].ID
	}
	return ids
}

// byID returns the indices of the backends in the order of their IDs: the
// order in which hash tables are filled, the same whatever the slice's order.
func byID(backends []Backend) []int {
	order := make([]int, len(backends))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(backends[a].ID, backends[b].ID) })
	return order
}

// resume finds the place of an old cursor among new backends. A cursor is the
// index of the server picked last plus one; 0 is before the first. If that
// server is gone, the cursor goes back to the nearest one before it that is
// still there, so that whoever came next comes next.
func resume(old []string, cursor uint32, now []string) uint32 {
	for ; cursor > 0; cursor-- {
		if i := slices.Index(now, old[cursor-1]); i >= 0 {
			return uint32(i) + 1
		}
	}
	return 0
}

// fold makes 32 bits of an address the way IPVS does: IPv6 by exclusive or.
func fold(a netip.Addr) uint32 {
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	return binary.BigEndian.Uint32(b[0:]) ^ binary.BigEndian.Uint32(b[4:]) ^
		binary.BigEndian.Uint32(b[8:]) ^ binary.BigEndian.Uint32(b[12:])
}

// golden is Knuth's multiplier 2654435761, with which IPVS spreads addresses.
const golden = 2654435761
