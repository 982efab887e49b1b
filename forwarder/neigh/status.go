package neigh

import (
	"net/netip"
	"slices"
	"time"
)

// Entry is what is known of one real server.
type Entry struct {
	Addr     netip.Addr
	MAC      [6]byte // the last one; zero: never known
	State    State
	LastSeen time.Time // of its last message; zero: never
	Changes  uint64    // how often its MAC address became another one
	Refused  uint64    // how often another MAC address was refused
}

// VIP is one virtual address and who else claims it.
type VIP struct {
	Addr      netip.Addr
	Answered  bool      // this director answers for it now
	Conflicts uint64    // claims of other hosts
	Rival     [6]byte   // MAC address of the last one
	Device    string    // where it was seen
	Last      time.Time // when; zero: never
}

// Status is a copy of everything an Agent knows.
type Status struct {
	Targets  []Entry // in the order of their addresses
	VIPs     []VIP   // in the order of their addresses
	Counters Counters
}

// Status returns what is known now.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.core.status()
}

func (c *core) status() Status {
	s := Status{Counters: c.count}
	for _, t := range c.targets {
		s.Targets = append(s.Targets, Entry{t.addr, t.mac, t.state, t.seen, t.changes, t.refused})
	}
	for _, v := range c.vips {
		e := VIP{Addr: v.addr, Answered: c.active, Conflicts: v.conflicts, Rival: v.rival, Last: v.seen}
		if v.conflicts > 0 {
			e.Device = c.device(v.rivalAt)
		}
		s.VIPs = append(s.VIPs, e)
	}
	slices.SortFunc(s.Targets, func(a, b Entry) int { return a.Addr.Compare(b.Addr) })
	slices.SortFunc(s.VIPs, func(a, b VIP) int { return a.Addr.Compare(b.Addr) })
	return s
}
