package guard

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// route is one of our routes, comparable. A zero Via makes it a blackhole.
type route struct {
	table int
	vip   netip.Addr
	via   netip.Addr
	index int
}

// place is what two routes cannot share.
type place struct {
	table int
	vip   netip.Addr
}

func (r route) place() place { return place{r.table, r.vip} }

// rule is one of our rules, comparable: by mark, by our own source address, or the
// jump to the priority over for packets without a mark of ours.
type rule struct {
	v6       bool
	priority int
	table    int
	mark     uint32
	from     netip.Addr
	over     int
}

// wanted is what there shall be, in the order in which it is set.
type wanted struct {
	routes []route
	rules  []rule
}

// drop forgets the routes to a VIP that something else is in the way of. Those
// that are there already stay.
func (w *wanted) drop(vip netip.Addr, have *present) {
	w.routes = slices.DeleteFunc(w.routes, func(r route) bool {
		_, there := have.routes[r]
		return r.vip == vip && !there
	})
}

// plan turns the wish into routes and rules. Blackholes come first.
func (g *Guard) plan(s State) (*wanted, error) {
	w := &wanted{}
	seen := map[place]route{}
	add := func(r route) bool {
		if old, ok := seen[r.place()]; ok {
			return old == r
		}
		seen[r.place()] = r
		w.routes = append(w.routes, r)
		return true
	}
	rules := map[rule]bool{}
	addRule := func(r rule) {
		if !rules[r] {
			rules[r] = true
			w.rules = append(w.rules, r)
		}
	}
	for _, v := range s.VIPs {
		v = v.Unmap()
		if !v.IsValid() || v.IsUnspecified() || v.IsMulticast() || v.IsLoopback() {
			return nil, fmt.Errorf("guard: %v cannot be a VIP: want a unicast address", v)
		}
		add(route{table: unix.RT_TABLE_MAIN, vip: v})
	}
	for _, p := range s.Paths {
		vip, via := p.VIP.Unmap(), p.Via.Unmap()
		n := p.Mark - g.cfg.Mark
		switch {
		case !vip.IsValid() || !via.IsValid() || vip.Is4() != via.Is4():
			return nil, fmt.Errorf("guard: path to %v via %v: want two addresses of one family", vip, via)
		case n < 1 || n > Servers:
			return nil, fmt.Errorf("guard: path to %v via %v: mark %#x is not one of ours, want %#x to %#x", vip, via, p.Mark, g.Mark(0), g.Mark(Servers-1))
		case p.Index <= 0:
			return nil, fmt.Errorf("guard: path to %v via %v has no device: is it there? (ip link show)", vip, via)
		}
		table := g.cfg.Table + int(n)
		if !add(route{table, vip, via, p.Index}) {
			return nil, fmt.Errorf("guard: mark %#x leads to %v both via %v and via %v: give each real server a mark of its own", p.Mark, vip, via, seen[place{table, vip}].via)
		}
		jump := rule{v6: vip.Is6(), priority: g.cfg.RulePriority, mark: g.cfg.Mark, over: g.cfg.RulePriority + 2}
		addRule(jump)
		addRule(rule{v6: vip.Is6(), priority: jump.priority + 1, table: table, mark: p.Mark})
		// The way back: one server of the VIP stands for all of them.
		add(route{g.cfg.Table, vip, via, p.Index})
		own, err := addresses(p.Index, vip.Is6())
		if err != nil {
			return nil, fmt.Errorf("guard: addresses of device %d: %w", p.Index, err)
		}
		for _, a := range own {
			addRule(rule{v6: a.Is6(), priority: jump.over, table: g.cfg.Table, from: a})
		}
	}
	return w, nil
}
