package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// present is what is there: ours, as read, so that it can be deleted as it is, and
// foreign routes that may be in the way.
type present struct {
	routes  map[route]netlink.Route
	odd     []netlink.Route // of our protocol, but nothing that we would set
	rules   map[rule]netlink.Rule
	extra   []netlink.Rule // like odd, or doubled
	foreign []netlink.Route
}

// read lists routes and rules of both families. A family that the kernel does not
// have has none.
func (g *Guard) read() (*present, error) {
	have := &present{routes: map[route]netlink.Route{}, rules: map[rule]netlink.Rule{}}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := retry(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("guard: cannot list routes: %w", err)
		}
		for _, r := range routes {
			switch {
			case r.Protocol != netlink.RouteProtocol(g.cfg.Protocol):
				if g.relevant(&r) {
					have.foreign = append(have.foreign, r)
				}
			default:
				if ours, ok := asRoute(&r); !ok {
					have.odd = append(have.odd, r)
				} else {
					have.routes[ours] = r
				}
			}
		}
		rules, err := retry(func() ([]netlink.Rule, error) { return netlink.RuleList(family) })
		if err != nil {
			return nil, fmt.Errorf("guard: cannot list rules: %w", err)
		}
		for _, r := range rules {
			if r.Protocol != g.cfg.Protocol {
				continue
			}
			ours, ok := asRule(&r)
			if _, doubled := have.rules[ours]; !ok || doubled {
				have.extra = append(have.extra, r)
			} else {
				have.rules[ours] = r
			}
		}
	}
	return have, nil
}

// relevant tells whether a foreign route can be in our way. Of a table with a
// million routes only those to one address can.
func (g *Guard) relevant(r *netlink.Route) bool {
	_, whole := host(r.Dst)
	return r.Table == unix.RT_TABLE_LOCAL && r.Dst != nil ||
		whole && (r.Table == unix.RT_TABLE_MAIN || r.Table >= g.cfg.Table && r.Table <= g.cfg.Table+Servers)
}

// retry lists again when the kernel changed its tables meanwhile.
func retry[T any](list func() ([]T, error)) (out []T, err error) {
	for range 10 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EOPNOTSUPP) {
		return nil, nil
	}
	return out, err
}

// metric is an IPv6 route's metric. IPv4 has 0.
func metric(v6 bool) int {
	if v6 {
		return 1024
	}
	return 0
}

// asRoute reads a route of ours; false when it is not as we set them.
func asRoute(r *netlink.Route) (route, bool) {
	dst, whole := host(r.Dst)
	if !whole || r.Priority != metric(dst.Is6()) || len(r.MultiPath) > 0 {
		return route{}, false
	}
	if r.Type == unix.RTN_BLACKHOLE {
		return route{table: r.Table, vip: dst}, true
	}
	via, ok := netip.AddrFromSlice(r.Gw)
	if r.Type != unix.RTN_UNICAST || !ok || r.Flags&unix.RTNH_F_ONLINK == 0 {
		return route{}, false
	}
	return route{r.Table, dst, via.Unmap(), r.LinkIndex}, true
}

func (g *Guard) asNetlink(r route) *netlink.Route {
	n := &netlink.Route{
		Table: r.table, Dst: network(r.vip), Protocol: netlink.RouteProtocol(g.cfg.Protocol), Priority: metric(r.vip.Is6()),
	}
	if !r.via.IsValid() {
		n.Type = unix.RTN_BLACKHOLE
		return n
	}
	// On-link: the kernel need not know a network on the device for it.
	n.Type, n.Gw, n.LinkIndex, n.Flags = unix.RTN_UNICAST, net.IP(r.via.AsSlice()), r.index, unix.RTNH_F_ONLINK
	return n
}

const loopback = "lo"

// markMask leaves of a mark what all marks of ours have in common.
const markMask = ^uint32(Servers)

// asRule reads a rule of ours; false when it is not as we set them.
func asRule(r *netlink.Rule) (rule, bool) {
	out := rule{v6: r.Family == unix.AF_INET6, priority: r.Priority, table: r.Table, mark: r.Mark}
	if r.Src != nil {
		out.from, _ = host(r.Src)
	}
	mask := ^uint32(0)
	if r.Mask != nil {
		mask = *r.Mask
	}
	switch {
	case r.Dst != nil || r.OifName != "":
		return out, false
	case r.Goto >= 0:
		out.over = r.Goto
		return out, r.Invert && mask == markMask && r.Src == nil && r.IifName == ""
	case r.Mark != 0:
		return out, !r.Invert && mask == ^uint32(0) && r.Src == nil && r.IifName == ""
	}
	return out, !r.Invert && out.from.IsValid() && r.IifName == loopback
}

func (g *Guard) ruleNetlink(r rule) *netlink.Rule {
	n := netlink.NewRule()
	n.Family, n.Priority, n.Table, n.Mark, n.Protocol = unix.AF_INET, r.priority, r.table, r.mark, g.cfg.Protocol
	if r.v6 {
		n.Family = unix.AF_INET6
	}
	if r.over > 0 {
		mask := markMask
		n.Goto, n.Invert, n.Mask = r.over, true, &mask
	}
	if r.from.IsValid() {
		n.Src, n.IifName = network(r.from), loopback
	}
	return n
}

// host returns the address of a /32 or /128.
func host(n *net.IPNet) (netip.Addr, bool) {
	if n == nil {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || ones != bits || bits == 0 {
		return netip.Addr{}, false
	}
	return a, true
}

func network(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: net.IP(a.AsSlice()), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// addresses lists a device's own addresses of one family.
func addresses(index int, v6 bool) (out []netip.Addr, err error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	list, err := retry(func() ([]netlink.Addr, error) {
		return netlink.AddrList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}, family)
	})
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			out = append(out, ip.Unmap())
		}
	}
	return out, err
}
