package cluster

import (
	"fmt"
	"net/netip"
	"strings"
)

// holder is one machine's address, and how messages call it.
type holder struct {
	addr netip.Addr
	path string
	who  string
}

// addresses checks the addresses of machines: each is used once, is one that a
// machine can have, and lies in its network. It returns who has which.
func (k checks) addresses() map[netip.Addr]holder {
	k.bothSides()
	first := map[netip.Addr]holder{}
	for _, h := range k.holders() {
		if why := unfit(h.addr, false); why != "" {
			k.report(h.path, "%s is %s: no machine can have it", h.addr, why)
			continue
		}
		if other, taken := first[h.addr]; taken && !k.mayShare(other, h) {
			k.report(h.path, "%s is %s%s already", h.addr, other.who, k.line(other.path))
			continue
		}
		if _, taken := first[h.addr]; !taken {
			first[h.addr] = h
		}
	}
	return first
}

// holders lists every address of a machine, in the order of the schema, and
// checks on the way what concerns one machine alone.
func (k checks) holders() []holder {
	var all []holder
	c := k.c
	add := func(a netip.Addr, path, who string, in *Network, side string) {
		if !a.IsValid() {
			return
		}
		if in == nil || k.inside(a, path, in, side) {
			all = append(all, holder{a, path, who})
		}
	}
	pair := func(a, a6 netip.Addr, path, suffix, who string, in *Network, side string) {
		add(a, path+suffix, who, in, side)
		add(a6, path+suffix+"6", who, in, side)
		if a.IsValid() && a.Is6() && a6.IsValid() {
			k.report(path+suffix+"6", "%s is IPv6 already: give the IPv4 one as %s, and the IPv6 one here",
				suffix[1:], suffix[1:])
		}
	}
	pair(c.Networks.Client.Gateway, c.Networks.Client.Gateway6, "networks.client", ".gateway",
		"the gateway of the client network", &c.Networks.Client, "client")
	pair(c.Networks.Server.Gateway, c.Networks.Server.Gateway6, "networks.server", ".gateway",
		"the gateway of the server network", &c.Networks.Server, "server")
	add(c.Station.Address, "station.address", "the address of the station", nil, "")
	for i := range c.Directors {
		d, path := &c.Directors[i], fmt.Sprintf("directors[%d]", i)
		pair(d.Client.Address, d.Client.Address6, path+".client", ".address",
			fmt.Sprintf("the client address of director %q", d.Name), &c.Networks.Client, "client")
		pair(d.Server.Address, d.Server.Address6, path+".server", ".address",
			fmt.Sprintf("the server address of director %q", d.Name), &c.Networks.Server, "server")
	}
	for i := range c.RealServers {
		s := &c.RealServers[i]
		pair(s.Address, s.Address6, fmt.Sprintf("realservers[%d]", i), ".address",
			fmt.Sprintf("the address of real server %q", s.Name), &c.Networks.Server, "server")
	}
	return all
}

// inside tells whether a lies in the network, as far as the file says what that
// is: the CIDRs of a's family.
func (k checks) inside(a netip.Addr, path string, in *Network, side string) bool {
	for _, cidr := range []netip.Prefix{in.CIDR, in.CIDR6} {
		if !cidr.IsValid() || cidr.Addr().Is6() != a.Is6() || unfit(a, false) != "" {
			continue
		}
		if !cidr.Contains(a) {
			k.report(path, "%s is outside the %s network %s", a, side, cidr)
			return false
		}
		if a.Is4() && cidr.Bits() < 31 {
			switch a {
			case cidr.Addr():
				k.report(path, "%s is the %s network's own address: no machine can have it", a, side)
				return false
			case broadcast(cidr):
				k.report(path, "%s is the broadcast address of the %s network: no machine can have it", a, side)
				return false
			}
		}
	}
	return true
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// bothSides lets the two networks overlap only where the directors stand in one
// network with one device.
func (k checks) bothSides() {
	client, server := cidrs("client", &k.c.Networks.Client), cidrs("server", &k.c.Networks.Server)
	for _, s := range server {
		for _, c := range client {
			if s.cidr.IsValid() && c.cidr.IsValid() && s.cidr.Overlaps(c.cidr) && !k.oneArm() {
				k.report(s.path, "%s overlaps the client network %s%s: give the sides networks of their own, or each director one device for both",
					s.cidr, c.cidr, k.line(c.path))
			}
		}
	}
	for _, side := range [][2]named{client, server} {
		if side[0].cidr.IsValid() && side[0].cidr.Addr().Is6() && side[1].cidr.IsValid() {
			k.report(side[1].path, "cidr is IPv6 already: give the IPv4 one as cidr, and the IPv6 one here")
		}
	}
}

// named is a network and where it stands.
type named struct {
	path string
	cidr netip.Prefix
}

func cidrs(side string, n *Network) [2]named {
	return [2]named{{"networks." + side + ".cidr", n.CIDR}, {"networks." + side + ".cidr6", n.CIDR6}}
}

// oneArm tells whether every director has one device for both sides.
func (k checks) oneArm() bool {
	if n := len(k.c.Directors); n < 1 || n > 2 {
		return false // reported by pair, and a longer list would be walked too often
	}
	for i := range k.c.Directors {
		if d := &k.c.Directors[i]; d.Client.Device != d.Server.Device {
			return false
		}
	}
	return true
}

// mayShare tells whether two places may name one address: with one arm, both
// sides of one director are one interface, and both networks have one gateway.
func (k checks) mayShare(a, b holder) bool {
	if !k.oneArm() {
		return false
	}
	n := &k.c.Networks
	if b.addr == n.Client.Gateway && b.addr == n.Server.Gateway || b.addr == n.Client.Gateway6 && b.addr == n.Server.Gateway6 {
		return strings.HasPrefix(a.path, "networks.") && strings.HasPrefix(b.path, "networks.")
	}
	for i := range k.c.Directors {
		d, path := &k.c.Directors[i], fmt.Sprintf("directors[%d]", i)
		if (b.path == path+".server.address" || b.path == path+".server.address6") &&
			(a.addr == d.Client.Address || a.addr == d.Client.Address6) {
			return true
		}
	}
	return false
}

// vip checks that the virtual address can be one, and is no machine's.
func (k checks) vip(s *Service, path string, machines map[netip.Addr]holder) {
	if !s.VIP.IsValid() {
		return
	}
	if why := unfit(s.VIP, true); why != "" {
		k.report(path+".vip", "%s is %s: want a unicast address of the service's own", s.VIP, why)
		return
	}
	for _, cidr := range []netip.Prefix{k.c.Networks.Client.CIDR, k.c.Networks.Server.CIDR} {
		if cidr.IsValid() && cidr.Addr().Is4() && cidr.Bits() < 31 && (s.VIP == cidr.Addr() || s.VIP == broadcast(cidr)) {
			k.report(path+".vip", "%s is the first or last address of %s, which no machine can have", s.VIP, cidr)
			return
		}
	}
	if h, taken := machines[s.VIP]; taken {
		k.report(path+".vip", "%s is %s%s already: a VIP is an address of its own", s.VIP, h.who, k.line(h.path))
	}
}

// unfit says why an address cannot be a machine's, or with vip a VIP.
func unfit(a netip.Addr, vip bool) string {
	switch {
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	case vip && a.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}
