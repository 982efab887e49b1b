package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// change adds what is missing and then removes what is too much, so that a VIP
// that stays is never without its blackhole.
func (g *Guard) change(want *wanted, have *present) (errs []error) {
	fail := func(doing string, what any, err error) {
		switch {
		case err == nil, strings.HasPrefix(doing, "remove") && gone(err):
			return
		case errors.Is(err, syscall.EPERM):
			err = fmt.Errorf("%w: run with CAP_NET_ADMIN", err)
		case errors.Is(err, syscall.ENETDOWN):
			err = fmt.Errorf("%w: switch the device on (ip link set DEVICE up)", err)
		}
		errs = append(errs, fmt.Errorf("guard: cannot %s %v: %w", doing, what, err))
	}
	wantRoute, wantRule, taken := map[route]bool{}, map[rule]bool{}, map[place]bool{}
	occupied := map[place]bool{}
	for r := range have.routes {
		occupied[r.place()] = true
	}
	changes := 0
	for _, r := range want.routes {
		wantRoute[r] = true
		if _, ok := have.routes[r]; ok {
			continue
		}
		changes++
		n := g.asNetlink(r)
		set := netlink.RouteAdd
		if occupied[r.place()] { // by another route of ours
			set, taken[r.place()] = netlink.RouteReplace, true
		}
		fail("set route", n, set(n))
	}
	for _, r := range want.rules {
		wantRule[r] = true
		if _, ok := have.rules[r]; ok {
			continue
		}
		changes++
		n := g.ruleNetlink(r)
		fail("set rule", n, netlink.RuleAdd(n))
	}
	for r, n := range have.rules {
		if !wantRule[r] {
			have.extra = append(have.extra, n)
		}
	}
	for _, n := range have.extra {
		changes++
		fail("remove rule", n, netlink.RuleDel(&n))
	}
	for r, n := range have.routes {
		if !wantRoute[r] && !taken[r.place()] {
			have.odd = append(have.odd, n)
		}
	}
	for _, n := range have.odd {
		changes++
		n.Flags &= unix.RTNH_F_ONLINK // the others are the kernel's remarks
		fail("remove route", n, netlink.RouteDel(&n))
	}
	if changes > 0 {
		g.cfg.Log.Info("routes and rules for the VIPs changed", "changes", changes, "failed", len(errs),
			"routes", len(want.routes), "rules", len(want.rules))
	}
	return errs
}

// gone tells that what was to be removed is not there any more.
func gone(err error) bool {
	return errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENODEV)
}

// obstacles finds what makes a VIP's routes impossible or useless: an address of
// this host, or a route that somebody else set.
func (g *Guard) obstacles(s State, have *present) map[netip.Addr]error {
	bad := map[netip.Addr]error{}
	vips := map[netip.Addr]bool{}
	for _, v := range s.VIPs {
		vips[v.Unmap()] = true
	}
	for _, r := range have.foreign {
		p := prefix(&r)
		if r.Table != unix.RT_TABLE_LOCAL {
			if v := p.Addr(); vips[v] && bad[v] == nil {
				bad[v] = foreignError(v, &r)
			}
			continue
		}
		for v := range vips {
			if p.Contains(v) {
				bad[v] = localError(v, &r) // the graver one
			}
		}
	}
	return bad
}

func prefix(r *netlink.Route) netip.Prefix {
	a, _ := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(a, ones)
}

// localError explains an entry of the local table: an address, or a broadcast address.
func localError(vip netip.Addr, r *netlink.Route) error {
	family := unix.AF_INET
	if vip.Is6() {
		family = unix.AF_INET6
	}
	device := deviceName(r.LinkIndex)
	list, _ := retry(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, family) })
	for _, a := range list {
		if ip, _ := netip.AddrFromSlice(a.IP); ip.Unmap() == vip {
			ones, _ := a.Mask.Size()
			device = deviceName(a.LinkIndex)
			return fmt.Errorf("guard: VIP %v is an address of this host's device %s; a director must not hold it: ip address del %v/%d dev %s", vip, device, vip, ones, device)
		}
	}
	if r.Type == unix.RTN_BROADCAST || r.Type == unix.RTN_ANYCAST {
		return fmt.Errorf("guard: VIP %v is a broadcast or anycast address of device %s here: choose another VIP, or correct the prefix length (ip address show dev %s)", vip, device, device)
	}
	return fmt.Errorf("guard: VIP %v is local to this host by a route: ip route del local %v dev %s table local", vip, r.Dst, device)
}

func foreignError(vip netip.Addr, r *netlink.Route) error {
	kind := ""
	if k, ok := map[int]string{unix.RTN_BLACKHOLE: "blackhole ", unix.RTN_UNREACHABLE: "unreachable ", unix.RTN_PROHIBIT: "prohibit "}[r.Type]; ok {
		kind = k
	}
	more := ""
	if r.Gw != nil {
		more += " via " + r.Gw.String()
	}
	if kind == "" && r.LinkIndex > 0 {
		more += " dev " + deviceName(r.LinkIndex)
	}
	more += fmt.Sprintf(" table %d", r.Table)
	if r.Priority > 0 {
		more += fmt.Sprintf(" metric %d", r.Priority)
	}
	ip := "ip"
	if vip.Is6() {
		ip = "ip -6"
	}
	return fmt.Errorf("guard: a route for VIP %v that is not ours (protocol %v) is in the way: %s route del %s%v%s", vip, r.Protocol, ip, kind, vip, more)
}

func deviceName(index int) string {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Sprintf("number %d", index)
	}
	return l.Attrs().Name
}
