package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// claim is one range of ports that a service takes at its VIP.
type claim struct {
	ports   PortRange
	service int
}

// claims finds services that want the same packets.
func (k checks) claims() {
	type point struct {
		vip      netip.Addr
		protocol Protocol
	}
	at := map[point][]claim{}
	var order []point
	for i := range k.c.Services {
		s := &k.c.Services[i]
		if !s.VIP.IsValid() || s.Protocol == "" {
			continue
		}
		p := point{s.VIP, s.Protocol}
		if at[p] == nil {
			order = append(order, p)
		}
		for _, r := range s.Ports {
			at[p] = append(at[p], claim{r, i})
		}
	}
	for _, p := range order {
		k.overlaps(p.vip, p.protocol, at[p])
	}
}

// overlaps compares each range with the one that reaches furthest before it, and
// reports a pair of services once, at the later of the two.
func (k checks) overlaps(vip netip.Addr, protocol Protocol, all []claim) {
	slices.SortStableFunc(all, func(a, b claim) int { return cmp.Compare(a.ports.First, b.ports.First) })
	told := map[[2]int]bool{}
	for i, far := 1, 0; i < len(all); i++ {
		a, b := all[far], all[i]
		if b.ports.First <= a.ports.Last {
			pair := [2]int{min(a.service, b.service), max(a.service, b.service)}
			if !told[pair] {
				told[pair] = true
				first, later := &k.c.Services[pair[0]], fmt.Sprintf("services[%d]", pair[1])
				k.report(later+".ports", "%s and %s%s both claim %s %s %s: a packet can have one service only",
					k.c.Services[pair[1]].Name, first.Name, k.line(fmt.Sprintf("services[%d]", pair[0])), vip, protocol,
					shared(a.ports, b.ports))
			}
		}
		if b.ports.Last > a.ports.Last {
			far = i
		}
	}
}

func shared(a, b PortRange) string {
	first, last := max(a.First, b.First), min(a.Last, b.Last)
	switch {
	case first == last:
		return fmt.Sprintf("port %d", first)
	case first == 1 && last == 65535:
		return "any port"
	}
	return fmt.Sprintf("ports %d-%d", first, last)
}
