package realserver

import (
	"fmt"
	"net/netip"
	"slices"
)

// checkRoutes follows the replies: each family with a VIP needs a default route,
// and not one through a director, which would not send them on.
func checkRoutes(want Config, have State) []Finding {
	var fs []Finding
	for _, v6 := range []bool{false, true} {
		if !want.has(v6) {
			continue
		}
		ip, family := "ip", "IPv4"
		if v6 {
			ip, family = "ip -6", "IPv6"
		}
		gateway := "ROUTER"
		if i := slices.IndexFunc(want.Gateways, func(a netip.Addr) bool { return a.Is6() == v6 }); i >= 0 {
			gateway = want.Gateways[i].String()
		}
		replace := fmt.Sprintf("%s route replace default via %s dev %s", ip, gateway, want.Device)
		elsewhere := false
		found := false
		for _, r := range have.Defaults {
			if r.V6 != v6 {
				continue
			}
			found = true
			elsewhere = elsewhere || r.Device != want.Device
			if r.Gateway.IsValid() && slices.Contains(want.Directors, r.Gateway) {
				fs = append(fs, Finding{Level: Error, Command: replace,
					Problem: fmt.Sprintf("the %s default route goes through director %s: replies must take the router", family, r.Gateway)})
			}
		}
		if !found {
			fs = append(fs, Finding{Level: Error, Command: replace,
				Problem: fmt.Sprintf("there is no %s default route: replies do not reach clients of other networks", family)})
		}
		if !v6 && elsewhere {
			fs = append(fs, checkReversePath(want, have)...)
		}
	}
	return fs
}

// checkReversePath matters when replies leave by another device than requests
// come in by: strict filtering (1) then drops the requests. The greater of "all"
// and the device counts, and 2 is loose.
func checkReversePath(want Config, have State) []Finding {
	key := conf4(want.Device, "rp_filter")
	effective := max(have.Sysctls[conf4("all", "rp_filter")], have.Sysctls[key])
	if effective != "1" {
		return nil
	}
	return []Finding{{Level: Error, Command: sysctlCommand(key, "2"),
		Problem: fmt.Sprintf("rp_filter is strict on %s, and the default route leaves by another device: clients' packets are dropped", want.Device)}}
}
