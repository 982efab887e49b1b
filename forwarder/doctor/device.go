package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
)

// link is a network device.
type link struct {
	name      string
	kind      string // of hardware: ether, loopback, none ...
	mtu       int    // bytes of an IP packet
	up        bool   // switched on
	carrier   bool
	addresses []netip.Prefix
	// features are the offloads that are on, by the kernel's names; featuresErr
	// says why they aren't known.
	features    []string
	featuresErr string
}

// device judges one of the director's two devices; it returns nil without one.
func (r *report) device(h *host, side string, want *cluster.Interface, net cluster.Network, node string) *link {
	l := h.link(want.Device)
	if l == nil {
		var names []string
		for _, l := range h.links {
			names = append(names, l.name)
		}
		r.fail("device", fmt.Sprintf("# write the right name at directors[%s].%s.device in %s", node, side, r.file),
			"there is no device %s for the %s network; this host has %s", want.Device, side, strings.Join(names, ", "))
		return nil
	}
	good := true
	if l.kind != "ether" {
		good = false
		r.fail("device", fmt.Sprintf("# write an Ethernet device at directors[%s].%s.device in %s", node, side, r.file),
			"%s is no Ethernet device (but %s): direct routing rewrites Ethernet addresses", l.name, l.kind)
	}
	switch {
	case !l.up:
		good = false
		r.fail("device", "ip link set dev "+l.name+" up", "%s is down", l.name)
	case !l.carrier:
		good = false
		r.fail("device", "# plug the cable of "+l.name+" in, or switch the port on: ip link show dev "+l.name, "%s has no carrier", l.name)
	}
	for _, a := range []netip.Addr{want.Address, want.Address6} {
		if !a.IsValid() {
			continue
		}
		if slices.ContainsFunc(l.addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
			continue
		}
		good = false
		where := ""
		for _, other := range h.links {
			if slices.ContainsFunc(other.addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
				where = " but on " + other.name
			}
		}
		r.fail("address", fmt.Sprintf("ip addr add %s/%d dev %s", a, prefixLength(net, a), l.name),
			"%s, the director's address on the %s network, is not on %s%s", a, side, l.name, where)
	}
	if good {
		r.ok("device", "%s (%s network) is up and has the director's address", l.name, side)
	}
	return l
}

func prefixLength(n cluster.Network, a netip.Addr) int {
	for _, p := range []netip.Prefix{n.CIDR, n.CIDR6} {
		if p.IsValid() && p.Addr().Is4() == a.Is4() {
			return p.Bits()
		}
	}
	return a.BitLen()
}

// mtu compares the two devices: what comes in on one must fit through the other.
func (r *report) mtu(client, server *link) {
	switch {
	case client == nil || server == nil:
	case client.mtu > server.mtu:
		r.fail("mtu", fmt.Sprintf("ip link set dev %s mtu %d", server.name, client.mtu),
			"packets of up to %d bytes come in on %s, but %s takes %d: the larger ones would be lost, and direct routing can't tell their sender. If the server network can't carry more, take %s down to %d instead",
			client.mtu, client.name, server.name, server.mtu, client.name, server.mtu)
	default:
		r.ok("mtu", "what fits through %s (%d bytes) fits through %s (%d)", client.name, client.mtu, server.name, server.mtu)
	}
}

// offloads judges how the client device joins received packets.
func (r *report) offloads(client *link) {
	if client == nil {
		return
	}
	if client.featuresErr != "" {
		r.warn("offload", "# ethtool -k "+client.name+" must show large-receive-offload: off", "the offloads of %s are not known: %s", client.name, client.featuresErr)
		return
	}
	good := true
	for _, f := range []struct{ name, option, why string }{
		{"rx-lro", "lro", "it joins received segments so that they can't be taken apart again as they were"},
		{"rx-gro-list", "rx-gro-list", "it joins packets in a way that no virtio header describes, so they are lost"},
		{"rx-udp-gro-forwarding", "rx-udp-gro-forwarding", "before Linux 6.2 joined datagrams don't reach a packet socket"},
	} {
		if slices.Contains(client.features, f.name) {
			good = false
			r.warn("offload", fmt.Sprintf("ethtool -K %s %s off", client.name, f.option), "%s has %s on: %s", client.name, f.name, f.why)
		}
	}
	if good && slices.Contains(client.features, "rx-gro") {
		r.ok("offload", "%s has GRO on, which the virtio header carries through, and LRO off", client.name)
	} else if good {
		r.ok("offload", "%s has GRO and LRO off (GRO on would be faster and does no harm)", client.name)
	}
}
