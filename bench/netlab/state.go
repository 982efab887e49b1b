package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// State lists what is set in the node: addresses, routes of all tables, rules,
// and the settings of its devices, a line each, sorted. Two lists are the same
// when nothing was left behind in between.
func (n *Node) State() []string {
	n.lab.helper()()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	links, err := n.handle.LinkList()
	n.lab.check(err, "%s: devices", n.name)
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		add("link %s %s flags %s mtu %d promiscuity %d allmulti %d", a.Name, a.HardwareAddr, a.Flags, a.MTU, a.Promisc, a.Allmulti)
		addrs, err := n.handle.AddrList(l, netlink.FAMILY_ALL)
		n.lab.check(err, "%s: addresses of %s", n.name, a.Name)
		for _, addr := range addrs {
			add("address %s dev %s flags %#x", addr.IPNet, a.Name, addr.Flags)
		}
	}
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		// Table 0 as a filter means all tables.
		routes, err := n.handle.RouteListFiltered(fam, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		n.lab.check(err, "%s: routes", n.name)
		for _, r := range routes {
			add("route %s via %s dev %s src %s type %d table %d metric %d", r.Dst, r.Gw, names[r.LinkIndex], r.Src, r.Type, r.Table, r.Priority)
		}
		rules, err := n.handle.RuleList(fam)
		n.lab.check(err, "%s: rules", n.name)
		for _, r := range rules {
			add("rule %s mark %#x", r, r.Mark)
		}
	}
	n.lab.check(n.Do(func() error {
		for _, pattern := range []string{"/proc/sys/net/ipv[46]/conf/*/*", "/proc/sys/net/ipv4/*"} {
			files, err := filepath.Glob(pattern)
			if err != nil {
				return err
			}
			for _, f := range files {
				// Directories, and the few that only root of the machine may read.
				if b, err := os.ReadFile(f); err == nil && !strings.HasSuffix(f, "/stable_secret") {
					add("%s = %s", strings.TrimPrefix(f, "/proc/sys/"), strings.TrimSpace(string(b)))
				}
			}
		}
		return nil
	}), "%s: settings", n.name)
	slices.Sort(lines)
	return lines
}

// Diff tells what two states differ in: lines that went with "-", lines that
// came with "+".
func Diff(before, after []string) (out []string) {
	for _, l := range before {
		if !slices.Contains(after, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range after {
		if !slices.Contains(before, l) {
			out = append(out, "+ "+l)
		}
	}
	return out
}
