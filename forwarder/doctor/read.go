package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/svm-cluster/svm/ems/cluster"
)

// read looks at everything that judge wants to know.
func read(c *cluster.Cluster, me *cluster.Director) *host {
	h := &host{}
	h.readLinks(me.Client.Device)
	h.readRoutes(c.VIPs())
	h.readSysctls(me)
	h.readCapabilities()
	if f := c.HA.KeyFile; f != "" {
		h.key = readKey(f)
	}
	if f := c.Forwarding.StateFile; f != "none" {
		h.state = readState(f)
	}
	return h
}

func (h *host) failed(what string, err error) {
	h.errs = append(h.errs, fmt.Errorf("%s: %w", what, err))
}

// readLinks lists the devices with their addresses, and the offloads of one.
func (h *host) readLinks(client string) {
	links, err := again(netlink.LinkList)
	if err != nil {
		h.failed("list the devices", err)
	}
	addresses, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		h.failed("list the addresses", err)
	}
	for _, l := range links {
		a := l.Attrs()
		d := link{name: a.Name, kind: a.EncapType, mtu: a.MTU, up: a.RawFlags&syscall.IFF_UP != 0, carrier: a.RawFlags&syscall.IFF_RUNNING != 0}
		for _, addr := range addresses {
			ip, ok := netip.AddrFromSlice(addr.IP)
			if ones, _ := addr.Mask.Size(); ok && addr.LinkIndex == a.Index {
				d.addresses = append(d.addresses, netip.PrefixFrom(ip.Unmap(), ones))
			}
		}
		if a.Name == client {
			if d.features, err = features(a.Name); err != nil {
				d.featuresErr = err.Error()
			}
		}
		h.links = append(h.links, d)
	}
}

// readRoutes lists the routes that lead to a VIP: of the main table those to it
// alone, of the local one all.
func (h *host) readRoutes(vips []netip.Addr) {
	names := map[int]string{}
	if links, err := again(netlink.LinkList); err == nil {
		for _, l := range links {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := again(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		})
		if err != nil && !errors.Is(err, syscall.EAFNOSUPPORT) && !errors.Is(err, syscall.EOPNOTSUPP) {
			h.failed("list the routes", err)
		}
		for _, n := range routes {
			if t, ok := asRoute(&n, names); ok && leads(&t, vips) {
				h.routes = append(h.routes, t)
			}
		}
	}
}

func leads(t *route, vips []netip.Addr) bool {
	for _, vip := range vips {
		if t.dst.Contains(vip) && (t.localOnly || t.dst.IsSingleIP()) {
			return true
		}
	}
	return false
}

func asRoute(n *netlink.Route, names map[int]string) (route, bool) {
	if n.Dst == nil || n.Table != syscall.RT_TABLE_MAIN && n.Table != syscall.RT_TABLE_LOCAL {
		return route{}, false
	}
	ip, ok := netip.AddrFromSlice(n.Dst.IP)
	ones, _ := n.Dst.Mask.Size()
	if !ok {
		return route{}, false
	}
	t := route{
		dst: netip.PrefixFrom(ip, ones), metric: n.Priority, protocol: int(n.Protocol),
		device: names[n.LinkIndex], localOnly: n.Table == syscall.RT_TABLE_LOCAL,
	}
	if len(n.Gw) > 0 {
		t.via = n.Gw.String()
	}
	switch n.Type {
	case syscall.RTN_UNICAST:
		t.kind = "unicast"
	case syscall.RTN_LOCAL:
		t.kind = "local"
	case syscall.RTN_BLACKHOLE:
		t.kind = "blackhole"
	case syscall.RTN_UNREACHABLE:
		t.kind = "unreachable"
	case syscall.RTN_PROHIBIT:
		t.kind = "prohibit"
	default:
		t.kind = "type " + strconv.Itoa(n.Type)
	}
	if t.kind != "unicast" && t.kind != "local" {
		t.device = "" // the kernel says lo, which the command doesn't take
	}
	return t, true
}

// readSysctls keeps settings by their path below /proc/sys.
func (h *host) readSysctls(me *cluster.Director) {
	keys := []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter"}
	for _, d := range []string{me.Client.Device, me.Server.Device} {
		keys = append(keys, "net/ipv4/conf/"+d+"/rp_filter", "net/ipv6/conf/"+d+"/disable_ipv6")
	}
	h.sysctls = map[string]string{}
	for _, k := range keys {
		// One that isn't there belongs to a device or a family that isn't.
		if raw, err := os.ReadFile("/proc/sys/" + k); err == nil {
			h.sysctls[k] = strings.TrimSpace(string(raw))
		}
	}
}

func (h *host) readCapabilities() {
	raw, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		h.capsErr = err.Error()
		return
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			if h.caps, err = strconv.ParseUint(strings.TrimSpace(v), 16, 64); err != nil {
				h.capsErr = err.Error()
			}
			return
		}
	}
	h.capsErr = "/proc/thread-self/status has no CapEff"
}

// again lists once more when the kernel's lists changed meanwhile.
func again[T any](list func() ([]T, error)) (out []T, err error) {
	for range 10 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}
