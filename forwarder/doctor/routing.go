package doctor

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
)

// ownProtocol marks the routes that the host guard sets (forwarder/guard).
const ownProtocol = 84

// kernelProtocol marks those that the kernel makes for addresses.
const kernelProtocol = 2

// route is one that a VIP could take.
type route struct {
	dst       netip.Prefix
	kind      string // "", unicast: by device or gateway; local, blackhole, unreachable ...
	via       string
	device    string
	metric    int
	protocol  int
	localOnly bool // of the table of this host's own addresses
}

// command is the command that removes the route.
func (t *route) command() string {
	words := []string{"ip"}
	if t.dst.Addr().Is6() {
		words = append(words, "-6")
	}
	words = append(words, "route", "del")
	if t.kind != "unicast" {
		words = append(words, t.kind)
	}
	words = append(words, t.dst.String())
	if t.via != "" {
		words = append(words, "via", t.via)
	}
	if t.device != "" {
		words = append(words, "dev", t.device)
	}
	if t.metric != 0 {
		words = append(words, "metric", fmt.Sprint(t.metric))
	}
	if t.localOnly {
		words = append(words, "table", "local")
	}
	return strings.Join(words, " ")
}

// vips judges whether something else on this host takes a VIP's packets.
func (r *report) vips(h *host, vips []netip.Addr) {
	good := true
	for _, vip := range vips {
		own := false
		for _, l := range h.links {
			for _, p := range l.addresses {
				if p.Addr() != vip {
					continue
				}
				own, good = true, false
				r.fail("vip", fmt.Sprintf("ip addr del %s dev %s", p, l.name),
					"the VIP %s is an address of this host, on %s: the kernel answers for it. Only real servers have VIPs, on their loopback", vip, l.name)
			}
		}
		for i := range h.routes {
			t := &h.routes[i]
			switch {
			case t.protocol == ownProtocol || !t.dst.Contains(vip):
			case own && (t.localOnly || t.protocol == kernelProtocol): // goes with the address
			case t.localOnly && t.kind == "local":
				good = false
				r.fail("route", t.command(), "a route makes the VIP %s one of this host's own addresses (local %s)", vip, t.dst)
			case !t.localOnly && t.dst.IsSingleIP():
				good = false
				r.fail("route", t.command(), "a route to the VIP %s (protocol %d) is in the way of the one that keeps the kernel silent", vip, t.protocol)
			}
		}
	}
	if good {
		r.ok("vip", "no VIP is an address of this host, and no route is in the way of one")
	}
}

// forwarding judges whether this host is a router, which a director need not be.
func (r *report) forwarding(h *host, vips []netip.Addr) {
	for _, f := range []struct {
		name, key string
		v6        bool
	}{{"IPv4", "net/ipv4/ip_forward", false}, {"IPv6", "net/ipv6/conf/all/forwarding", true}} {
		if f.v6 && !anyOf(vips, true) {
			continue
		}
		switch h.sysctls[f.key] {
		case "":
		case "0":
			r.ok("ip_forward", "this host forwards no %s packets by itself", f.name)
		default:
			r.warn("ip_forward", setCommand(f.key, "0"),
				"this host forwards %s packets by itself. svm-fwd keeps packets for VIPs out of that while it runs, but a director needs none of it, and it makes a way round your router from the client network to the real servers",
				f.name)
		}
	}
}

// rpFilter only says what there is: the guard sends the checks' answers on a way
// that every value lets through, and forwarding never meets the filter.
func (r *report) rpFilter(h *host, me *cluster.Director) {
	var values []string
	for _, d := range []string{"all", me.Client.Device, me.Server.Device} {
		if v := h.sysctls["net/ipv4/conf/"+d+"/rp_filter"]; v != "" {
			values = append(values, d+" "+v)
		}
	}
	if len(values) > 0 {
		r.ok("rp_filter", "%s: every value is fine; forwarding does not meet the filter, and health checks come back on routes that it accepts", strings.Join(values, ", "))
	}
}

// ipv6 judges whether the host speaks IPv6 where there are IPv6 VIPs.
func (r *report) ipv6(h *host, me *cluster.Director, vips []netip.Addr) {
	if !anyOf(vips, true) {
		return
	}
	for _, d := range []string{me.Client.Device, me.Server.Device} {
		if key := "net/ipv6/conf/" + d + "/disable_ipv6"; h.sysctls[key] == "1" {
			r.fail("ipv6", setCommand(key, "0"), "there are IPv6 VIPs, but IPv6 is switched off on %s", d)
		}
	}
}

// setCommand sets a sysctl. Its name has slashes where a device's name has a dot.
func setCommand(key, value string) string {
	if !strings.Contains(key, ".") {
		key = strings.ReplaceAll(key, "/", ".")
	}
	return "sysctl -w " + key + "=" + value
}

func anyOf(list []netip.Addr, v6 bool) bool {
	for _, a := range list {
		if a.Is6() == v6 {
			return true
		}
	}
	return false
}
