package provision

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// placed is what was set on a device, for undo.
type placed struct {
	device  string
	prefix  netip.Prefix
	address bool       // we added it
	router  netip.Addr // of the default route that we added
	up      bool       // we switched the device on
}

// usable is the device's first IPv4 address that other machines can reach, or the zero
// Addr.
func usable(device string) (none netip.Addr, err error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return none, fmt.Errorf("device %s: %w", device, err)
	}
	list, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return none, fmt.Errorf("addresses of %s: %w", device, err)
	}
	for _, a := range list {
		if ip := addr4(a.IP); ip.IsValid() && !ip.IsLinkLocalUnicast() && !ip.IsLoopback() && a.Scope == int(netlink.SCOPE_UNIVERSE) {
			return ip, nil
		}
	}
	return none, nil
}

// switchOn brings the device up.
func (p *placed) switchOn(device string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	p.device = device
	if link.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("switch %s on: %w (needs CAP_NET_ADMIN)", device, err)
	}
	p.up = true
	return nil
}

// set gives the device the address, for the time (0: for ever), and a default route
// where there is none. Setting it again renews the time.
func (p *placed) set(prefix netip.Prefix, router netip.Addr, lifetime time.Duration) error {
	link, err := netlink.LinkByName(p.device)
	if err != nil {
		return fmt.Errorf("device %s: %w", p.device, err)
	}
	seconds := int(lifetime / time.Second)
	a := &netlink.Addr{IPNet: ipNet(prefix), ValidLft: seconds, PreferedLft: seconds}
	if err := netlink.AddrReplace(link, a); err != nil {
		return fmt.Errorf("set %s on %s: %w (needs CAP_NET_ADMIN)", prefix, p.device, err)
	}
	p.prefix, p.address = prefix, true
	if !router.IsValid() || p.router == router {
		return nil
	}
	has, err := hasDefault()
	if err != nil || has {
		return err
	}
	if err := netlink.RouteAdd(p.route(link, router)); err != nil {
		return fmt.Errorf("route by %s: %w", router, err)
	}
	p.router = router
	return nil
}

func (p *placed) route(link netlink.Link, router netip.Addr) *netlink.Route {
	return &netlink.Route{
		LinkIndex: link.Attrs().Index, Gw: router.AsSlice(), Protocol: unix.RTPROT_DHCP,
		Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		// With the address as its source the kernel takes the route away with it, should
		// we be killed and the lease end.
		Src: p.prefix.Addr().AsSlice(),
	}
}

func hasDefault() (bool, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return false, fmt.Errorf("routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			return true, nil
		}
		if ones, _ := r.Dst.Mask.Size(); ones == 0 {
			return true, nil
		}
	}
	return false, nil
}

// undo takes away what was set. It may be called on nothing.
func (p *placed) undo() error {
	if p.device == "" {
		return nil
	}
	link, err := netlink.LinkByName(p.device)
	if err != nil {
		*p = placed{}
		return nil // the device is gone, and all of that with it
	}
	var errs []error
	if p.router.IsValid() {
		errs = append(errs, gone(netlink.RouteDel(p.route(link, p.router))))
	}
	if p.address {
		errs = append(errs, gone(netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(p.prefix)})))
	}
	if p.up {
		errs = append(errs, netlink.LinkSetDown(link))
	}
	device := p.device
	*p = placed{}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("take the address off %s: %w", device, err)
	}
	return nil
}

func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// expiring tells whether the device has the address, and only for a time.
func expiring(device string, a netip.Addr) bool {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return false
	}
	list, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return false
	}
	for _, have := range list {
		if addr4(have.IP) == a {
			return have.Flags&unix.IFA_F_PERMANENT == 0
		}
	}
	return false
}

// onlyEthernet is the machine's one Ethernet device, or an error that asks for a name.
func onlyEthernet() (string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return "", fmt.Errorf("devices: %w", err)
	}
	var names []string
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback != 0 || a.EncapType != "ether" || (l.Type() != "device" && l.Type() != "veth") {
			continue
		}
		names = append(names, a.Name)
	}
	if len(names) != 1 {
		return "", fmt.Errorf("this machine has %d Ethernet devices %v: say with --dhcp which one faces the directors", len(names), names)
	}
	return names[0], nil
}
