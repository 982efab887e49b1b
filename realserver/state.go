package realserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// State is what Read found: all that Plan and Check need to know. It is plain
// data; tests write it by hand.
type State struct {
	// Boot names this boot of this network namespace: what was recorded under
	// another one is gone.
	Boot      string
	Links     []Link
	Addresses []Address
	// Sysctls holds the settings of "all" and of every device, by path below
	// /proc/sys. One that the kernel does not have is missing.
	Sysctls   map[string]string
	Defaults  []Route
	Listeners []Listener
	// Record is what an earlier apply wrote down in this boot; nil if nothing.
	Record *Record
	// Stale says that there is a record of another boot.
	Stale bool
}

// Link is one network device.
type Link struct {
	Name string
	MTU  int // bytes
	Up   bool
}

// Address is one address of a device.
type Address struct {
	Device string
	Prefix netip.Prefix // the address itself with its prefix length, not masked
	Host   bool         // IPv4: scope host
	// Deprecated says that IPv6 does not choose it as a source when it has another.
	Deprecated bool
}

// Route is one default route of the main table.
type Route struct {
	V6      bool
	Device  string
	Gateway netip.Addr // zero: on the link
}

// link finds a device.
func (s *State) link(name string) (Link, bool) {
	for _, l := range s.Links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// onLo tells whether lo holds exactly this address.
func (s *State) onLo(p netip.Prefix) bool {
	for _, a := range s.Addresses {
		if a.Device == "lo" && a.Prefix == p {
			return true
		}
	}
	return false
}

// Read looks at the host and at the state file; it changes nothing and needs no
// privilege for the former. A missing state file is no error.
func Read(ctx context.Context, file string) (State, error) {
	if err := ctx.Err(); err != nil {
		return State{}, err
	}
	s := State{Sysctls: map[string]string{}}
	var err error
	if s.Boot, err = bootID(); err != nil {
		return State{}, err
	}
	names, err := s.readLinks()
	if err != nil {
		return State{}, err
	}
	if err := s.readAddresses(names); err != nil {
		return State{}, err
	}
	if err := s.readRoutes(names); err != nil {
		return State{}, err
	}
	if err := s.readSysctls(); err != nil {
		return State{}, err
	}
	s.Listeners = readListeners()
	rec, err := loadRecord(file)
	if err != nil {
		return State{}, err
	}
	if rec != nil && rec.Boot == s.Boot {
		s.Record = rec
	}
	s.Stale = rec != nil && s.Record == nil
	return s, nil
}

// bootID is the kernel's boot id and the cookie of the network namespace, which
// the kernel never hands out twice in one boot.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("realserver: cannot tell one boot from the next: %w; mount /proc", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return "", fmt.Errorf("realserver: netlink socket: %w; allow AF_NETLINK", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		cookie = 0 // before Linux 5.14: the boot alone must do
	}
	return fmt.Sprintf("%s/%d", strings.TrimSpace(string(b)), cookie), nil
}

func (s *State) readLinks() (map[int]string, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("realserver: list devices: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		s.Links = append(s.Links, Link{Name: a.Name, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0})
	}
	return names, nil
}

func (s *State) readAddresses(names map[int]string) error {
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("realserver: list addresses: %w", err)
	}
	for _, a := range addrs {
		p, ok := prefix(a.IPNet)
		if !ok {
			continue
		}
		s.Addresses = append(s.Addresses, Address{
			Device: names[a.LinkIndex], Prefix: p,
			Host:       p.Addr().Is4() && a.Scope == unix.RT_SCOPE_HOST,
			Deprecated: a.Flags&unix.IFA_F_DEPRECATED != 0,
		})
	}
	return nil
}

// readRoutes keeps the default routes of the main table, one for each next hop.
func (s *State) readRoutes(names map[int]string) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		filter := &netlink.Route{Table: unix.RT_TABLE_MAIN}
		routes, err := dump(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return fmt.Errorf("realserver: list routes: %w", err)
		}
		for _, r := range routes {
			if p, ok := prefix(r.Dst); r.Type != unix.RTN_UNICAST || ok && p.Bits() != 0 {
				continue
			}
			hops := r.MultiPath
			if len(hops) == 0 {
				hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
			}
			for _, h := range hops {
				d := Route{V6: family == netlink.FAMILY_V6, Device: names[h.LinkIndex]}
				gw := h.Gw
				if via, ok := h.Via.(*netlink.Via); ok && gw == nil {
					gw = via.Addr
				}
				if a, ok := netip.AddrFromSlice(gw); ok {
					d.Gateway = a.Unmap()
				}
				s.Defaults = append(s.Defaults, d)
			}
		}
	}
	return nil
}

func (s *State) readSysctls() error {
	var keys []string
	devices := []string{"all"}
	for _, l := range s.Links {
		devices = append(devices, l.Name)
	}
	for _, d := range devices {
		keys = append(keys, conf4(d, "arp_ignore"), conf4(d, "arp_announce"), conf4(d, "rp_filter"), conf6(d, "disable_ipv6"))
	}
	// A record may name a device that is not listed any more; its key is then
	// missing, which is how Plan learns of it.
	for _, k := range keys {
		v, err := readSysctl(k)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the device went, or the kernel has no IPv6
		}
		if err != nil {
			return err
		}
		s.Sysctls[k] = v
	}
	return nil
}

// dump repeats a netlink dump that a change in the middle made inconsistent.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	const tries = 10
	for try := 1; ; try++ {
		l, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == tries {
			return l, err
		}
	}
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}
