package guard

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Relearn makes the kernel ask anew who has these addresses on a device. Sockets
// that go along a Path use the kernel's own neighbour table, which holds on to a
// hardware address that it believes in for up to a minute after the server took
// another one. Entries that an administrator made are left alone.
func (g *Guard) Relearn(index int, addrs ...netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, a := range addrs {
		a = a.Unmap()
		family := unix.AF_INET
		if a.Is6() {
			family = unix.AF_INET6
		}
		list, err := retry(func() ([]netlink.Neigh, error) { return netlink.NeighList(index, family) })
		if err != nil {
			errs = append(errs, fmt.Errorf("guard: cannot read the neighbours of device number %d: %w", index, err))
			continue
		}
		for _, n := range list {
			if ip, _ := netip.AddrFromSlice(n.IP); ip.Unmap() != a || n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 {
				continue
			}
			if err := netlink.NeighDel(&n); err != nil && !gone(err) {
				errs = append(errs, fmt.Errorf("guard: cannot make the kernel forget neighbour %v: %w; by hand: ip neigh flush to %v", a, err, a))
			}
		}
	}
	return errors.Join(errs...)
}
