package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Switch is an Ethernet switch: a Linux bridge in a namespace of its own, without
// spanning tree and without multicast snooping.
type Switch struct{ node *Node }

const bridgeName = "br0"

// Switch makes a switch without ports.
func (l *Lab) Switch(name string) *Switch {
	l.helper()()
	s := &Switch{l.Node(name)}
	no := false
	br := &netlink.Bridge{MulticastSnooping: &no}
	br.Name = bridgeName
	l.check(s.node.handle.LinkAdd(br), "switch %s", name)
	// It is a switch, not a host: no address of its own, so it says nothing.
	s.node.Sysctl("net/ipv6/conf/"+bridgeName+"/disable_ipv6", "1")
	s.node.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	s.node.LinkUp(bridgeName)
	return s
}

// Node returns the namespace that the bridge br0 lives in. Its ports are named
// p1, p2 ... in the order of Attach.
func (s *Switch) Node() *Node { return s.node }

// Attach plugs a new device of the node into the switch, gives it the addresses
// ("192.0.2.1/24") and returns the name of the switch's port.
func (s *Switch) Attach(n *Node, dev string, addrs ...string) (port string) {
	l := s.node.lab
	l.helper()()
	port = fmt.Sprintf("p%d", s.node.ports+1)
	l.pair(n, dev, s.node, port)
	p, err := s.node.handle.LinkByName(port)
	l.check(err, "%s: %s", s.node.name, port)
	br, err := s.node.handle.LinkByName(bridgeName)
	l.check(err, "%s: %s", s.node.name, bridgeName)
	l.check(s.node.handle.LinkSetMaster(p, br), "%s: %s", s.node.name, port)
	l.up(n, dev, s.node, port)
	n.Addr(dev, addrs...)
	return port
}

// Link joins two nodes by a cable: a veth pair, both ends up.
func (l *Lab) Link(a *Node, adev string, b *Node, bdev string) {
	l.helper()()
	l.pair(a, adev, b, bdev)
	l.up(a, adev, b, bdev)
}

func (l *Lab) pair(a *Node, adev string, b *Node, bdev string) {
	l.helper()()
	v := &netlink.Veth{PeerName: bdev, PeerNamespace: netlink.NsFd(b.ns.Fd()),
		PeerHardwareAddr: b.nextMAC(), PeerMTU: 1500}
	v.Name, v.HardwareAddr, v.MTU, v.TxQLen, v.Index = adev, a.nextMAC(), 1500, 1000, l.index()
	l.check(a.handle.LinkAdd(v), "link %s:%s to %s:%s", a.name, adev, b.name, bdev)
}

func (l *Lab) up(a *Node, adev string, b *Node, bdev string) {
	l.helper()()
	a.LinkUp(adev)
	b.LinkUp(bdev)
	l.check(a.waitUp(adev), "%s: %s", a.name, adev)
	l.check(b.waitUp(bdev), "%s: %s", b.name, bdev)
}

// nextMAC makes addresses that a person can tell apart: 02:53:56:00:NODE:DEVICE.
func (n *Node) nextMAC() net.HardwareAddr {
	n.ports++
	return net.HardwareAddr{0x02, 0x53, 0x56, byte(n.number >> 8), byte(n.number), byte(n.ports)}
}

// waitUp waits until the kernel has seen the carrier; frames are lost before.
func (n *Node) waitUp(dev string) error {
	return poll(10*time.Second, func() error {
		link, err := n.handle.LinkByName(dev)
		if err == nil && link.Attrs().OperState != netlink.OperUp {
			err = fmt.Errorf("state is %s, want up", link.Attrs().OperState)
		}
		return err
	})
}

// Addr adds addresses with prefix length, such as 192.0.2.1/24. They are usable
// when it returns.
func (n *Node) Addr(dev string, addrs ...string) {
	n.lab.helper()()
	link := n.link(dev)
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		n.lab.check(err, "%s: address %s", n.name, s)
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		n.lab.check(n.handle.AddrAdd(link, a), "%s: add %s to %s", n.name, s, dev)
	}
	// The link-local address is made by the kernel in its own time.
	n.lab.check(poll(10*time.Second, func() error {
		list, err := n.handle.AddrList(link, netlink.FAMILY_V6)
		for _, a := range list {
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				return fmt.Errorf("%s is tentative", a.IPNet)
			}
		}
		return err
	}), "%s: %s", n.name, dev)
}

// AddrDel takes an address away.
func (n *Node) AddrDel(dev, addr string) {
	n.lab.helper()()
	a, err := netlink.ParseAddr(addr)
	n.lab.check(err, "%s: address %s", n.name, addr)
	n.lab.check(n.handle.AddrDel(n.link(dev), a), "%s: delete %s from %s", n.name, addr, dev)
}

// Route adds a route. dst is a prefix, an address, or "default"; via is the
// gateway's address, or "dev NAME" for an on-link route.
func (n *Node) Route(dst, via string) {
	n.lab.helper()()
	r, err := n.route(dst, via)
	n.lab.check(err, "%s: route %s via %s", n.name, dst, via)
	n.lab.check(n.handle.RouteReplace(r), "%s: route %s via %s", n.name, dst, via)
}

// RouteDel takes away what Route added.
func (n *Node) RouteDel(dst, via string) {
	n.lab.helper()()
	r, err := n.route(dst, via)
	n.lab.check(err, "%s: route %s via %s", n.name, dst, via)
	n.lab.check(n.handle.RouteDel(r), "%s: delete route %s via %s", n.name, dst, via)
}

func (n *Node) route(dst, via string) (*netlink.Route, error) {
	r := &netlink.Route{}
	v6 := strings.Contains(dst, ":")
	if dev, ok := strings.CutPrefix(via, "dev "); ok {
		link, err := n.handle.LinkByName(dev)
		if err != nil {
			return nil, err
		}
		r.LinkIndex, r.Scope = link.Attrs().Index, netlink.SCOPE_LINK
	} else {
		gw, err := netip.ParseAddr(via)
		if err != nil {
			return nil, err
		}
		r.Gw, v6 = gw.AsSlice(), gw.Is6()
	}
	if dst == "default" {
		dst = "0.0.0.0/0"
		if v6 {
			dst = "::/0"
		}
	}
	p, err := netip.ParsePrefix(dst)
	if err != nil {
		a, err := netip.ParseAddr(dst)
		if err != nil {
			return nil, err
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	r.Dst = &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	return r, nil
}

// MAC returns the device's hardware address.
func (n *Node) MAC(dev string) net.HardwareAddr {
	n.lab.helper()()
	return n.link(dev).Attrs().HardwareAddr
}

// SetMAC changes it.
func (n *Node) SetMAC(dev string, mac net.HardwareAddr) {
	n.lab.helper()()
	n.lab.check(n.handle.LinkSetHardwareAddr(n.link(dev), mac), "%s: %s: set address %s", n.name, dev, mac)
}

// Index returns the device's interface number.
func (n *Node) Index(dev string) int {
	n.lab.helper()()
	return n.link(dev).Attrs().Index
}

// LinkUp switches a device on.
func (n *Node) LinkUp(dev string) {
	n.lab.helper()()
	n.lab.check(n.handle.LinkSetUp(n.link(dev)), "%s: set %s up", n.name, dev)
}

// LinkDown switches a device off; its IPv6 addresses and its routes go.
func (n *Node) LinkDown(dev string) {
	n.lab.helper()()
	n.lab.check(n.handle.LinkSetDown(n.link(dev)), "%s: set %s down", n.name, dev)
}

// LinkDel takes a device out of the node, and with it its peer.
func (n *Node) LinkDel(dev string) {
	n.lab.helper()()
	n.lab.check(n.handle.LinkDel(n.link(dev)), "%s: delete %s", n.name, dev)
}

// SetMTU sets a device's MTU in bytes.
func (n *Node) SetMTU(dev string, mtu int) {
	n.lab.helper()()
	n.lab.check(n.handle.LinkSetMTU(n.link(dev), mtu), "%s: set MTU %d of %s", n.name, mtu, dev)
}

func (n *Node) link(dev string) netlink.Link {
	n.lab.helper()()
	link, err := n.handle.LinkByName(dev)
	n.lab.check(err, "%s: device %s", n.name, dev)
	return link
}

// Counters are a device's counters since it was made, as the kernel keeps them.
type Counters struct {
	RxPackets, TxPackets, RxBytes, TxBytes, RxDropped, TxDropped uint64
}

// Counters reads a device's counters.
func (n *Node) Counters(dev string) Counters {
	n.lab.helper()()
	s := n.link(dev).Attrs().Statistics
	if s == nil {
		n.lab.check(errors.New("the kernel told no counters"), "%s: %s", n.name, dev)
		return Counters{}
	}
	return Counters{s.RxPackets, s.TxPackets, s.RxBytes, s.TxBytes, s.RxDropped, s.TxDropped}
}
