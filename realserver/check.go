package realserver

import (
	"fmt"
	"net/netip"
	"slices"
)

// Level says how bad a finding is.
type Level string

const (
	Error   Level = "error"   // clients lose, or may lose, connections
	Warning Level = "warning" // worth a look
)

// Finding is one thing that is wrong.
type Finding struct {
	Level   Level  `json:"level"`
	Problem string `json:"problem"`
	Command string `json:"command"` // mends it, or shows what to mend
	Apply   bool   `json:"apply"`   // Apply mends it too

	blocks bool // Apply refuses to begin while this is so
}

// Check compares the host with what it should be. It is pure. An empty result
// means that direct routing works as far as this host can tell.
func Check(want Config, have State) []Finding {
	var fs []Finding
	if len(want.VIPs) > 0 {
		fs = slices.Concat(
			checkLinks(want, have), checkVIPs(want, have), checkARP(want, have),
			checkOwn(want, have), checkRoutes(want, have), checkServices(want, have))
	}
	if have.Stale {
		fs = append(fs, Finding{Level: Warning, Apply: true,
			Problem: "the state file is of an earlier boot", Command: "svm-rs apply"})
	}
	return fs
}

func checkLinks(want Config, have State) []Finding {
	var fs []Finding
	if lo, ok := have.link("lo"); !ok || !lo.Up {
		fs = append(fs, Finding{Level: Error, blocks: true,
			Problem: "lo is down: its addresses do not work", Command: "ip link set lo up"})
	}
	l, ok := have.link(want.Device)
	if !ok {
		return append(fs, Finding{Level: Error, blocks: true,
			Problem: "there is no device " + want.Device, Command: "ip -br link show"})
	}
	if !l.Up {
		fs = append(fs, Finding{Level: Error,
			Problem: want.Device + " is down", Command: "ip link set " + want.Device + " up"})
	}
	mtu := want.MTU
	if mtu == 0 {
		mtu = 1500
	}
	if l.MTU < mtu {
		fs = append(fs, Finding{Level: Error,
			Problem: fmt.Sprintf("%s has MTU %d, but directors pass on packets of up to %d bytes: larger ones are lost", want.Device, l.MTU, mtu),
			Command: fmt.Sprintf("ip link set %s mtu %d", want.Device, mtu)})
	}
	if want.has(true) {
		for _, d := range []string{"lo", want.Device} {
			key := conf6(d, "disable_ipv6")
			if v, ok := have.Sysctls[key]; !ok || v != "0" {
				fs = append(fs, Finding{Level: Error, blocks: d == "lo",
					Problem: "IPv6 is off on " + d + ", but there are IPv6 VIPs", Command: sysctlCommand(key, "0")})
			}
		}
	}
	return fs
}

// checkVIPs wants each VIP on lo as a host address, and nowhere else.
func checkVIPs(want Config, have State) []Finding {
	var fs []Finding
	for _, p := range loopback(want.VIPs) {
		vip := p.Addr()
		for _, a := range have.Addresses {
			if a.Prefix.Addr() != vip {
				continue
			}
			del := fmt.Sprintf("ip addr del %s dev %s", a.Prefix, a.Device)
			switch {
			case a.Device != "lo":
				fs = append(fs, Finding{Level: Error, blocks: true, Command: del,
					Problem: fmt.Sprintf("VIP %s is an address of %s, which answers for it beside the director", vip, a.Device)})
			case a.Prefix != p:
				fs = append(fs, Finding{Level: Error, blocks: true, Command: del,
					Problem: fmt.Sprintf("lo holds VIP %s: with that prefix length this host takes its neighbours' addresses for its own", a.Prefix)})
			case vip.Is4() && !a.Host:
				fs = append(fs, Finding{Level: Warning, Command: del + " && " + Step{Kind: AddAddress, Address: p}.String(),
					Problem: fmt.Sprintf("VIP %s on lo is not of scope host: this host may use it as the source of its own connections", vip)})
			case vip.Is6() && !a.Deprecated:
				fs = append(fs, Finding{Level: Warning, Command: "ip addr change " + p.String() + " dev lo preferred_lft 0",
					Problem: fmt.Sprintf("VIP %s on lo is not deprecated: this host may use it as the source of its own connections", vip)})
			}
		}
		if !have.onLo(p) {
			fs = append(fs, Finding{Level: Error, Apply: true, Command: Step{Kind: AddAddress, Address: p}.String(),
				Problem: fmt.Sprintf("VIP %s is not on lo: this host drops what the director sends it", vip)})
		}
	}
	return fs
}

func checkARP(want Config, have State) []Finding {
	if !want.has(false) {
		return nil
	}
	var fs []Finding
	for _, k := range arpKeys(want.Device) {
		now, ok := have.Sysctls[k.key]
		if !ok {
			continue // checkLinks has said it
		}
		if t := k.target(now); t != now {
			fs = append(fs, Finding{Level: Error, Apply: true, Command: sysctlCommand(k.key, t),
				Problem: fmt.Sprintf("%s is %s: this host may draw the VIPs' traffic away from the director", sysctlName(k.key), now)})
		}
		if now == "8" {
			fs = append(fs, Finding{Level: Error, Command: sysctlCommand(k.key, "1"),
				Problem: sysctlName(k.key) + " is 8: this host does not answer ARP for its own address either, so directors cannot find it"})
		}
	}
	return fs
}

// checkOwn looks for the server's own addresses on the device.
func checkOwn(want Config, have State) []Finding {
	var fs []Finding
	global6 := false // on any device: a deprecated VIP comes after it
	for _, a := range have.Addresses {
		global6 = global6 || a.Device != "lo" && a.Prefix.Addr().Is6() && a.Prefix.Addr().IsGlobalUnicast() && !a.Deprecated
	}
	for _, own := range want.Addresses {
		if !slices.ContainsFunc(have.Addresses, func(a Address) bool { return a.Device == want.Device && a.Prefix.Addr() == own }) {
			fs = append(fs, Finding{Level: Error,
				Problem: fmt.Sprintf("%s does not have this server's address %s: directors cannot find it", want.Device, own),
				Command: "ip addr show dev " + want.Device})
		}
	}
	if _, ok := have.link(want.Device); ok && want.has(true) && !global6 {
		fs = append(fs, Finding{Level: Warning,
			Problem: "no device has a global IPv6 address: this host's own connections would leave with a VIP as their source",
			Command: "ip addr add ADDRESS/64 dev " + want.Device})
	}
	return fs
}

func checkServices(want Config, have State) []Finding {
	var fs []Finding
	for _, s := range want.Services {
		if slices.ContainsFunc(have.Listeners, func(l Listener) bool { return l.serves(s) }) {
			continue
		}
		ports, flag := fmt.Sprint(s.First), map[string]string{"tcp": "t", "udp": "u"}[s.Protocol]
		if s.Last != s.First {
			ports = fmt.Sprintf("%d-%d", s.First, s.Last)
		}
		fs = append(fs, Finding{Level: Warning,
			Problem: fmt.Sprintf("nothing listens on %s port %s of %s", s.Protocol, ports, netip.Addr(s.VIP)),
			Command: "ss -ln" + flag + "p"})
	}
	return fs
}
