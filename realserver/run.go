package realserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Run takes the steps in order and stops at the first that fails. It needs
// CAP_NET_ADMIN. Between two steps it looks at ctx.
func Run(ctx context.Context, file string, steps []Step) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("realserver: stopped before %q: %w", s, err)
		}
		if err := s.run(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

func (s Step) run(ctx context.Context, file string) error {
	var err error
	switch s.Kind {
	case WriteRecord:
		return saveRecord(file, s.Record)
	case Forget:
		return removeRecord(file)
	case SetSysctl:
		err = writeSysctl(s.Key, s.Value)
	case RestoreSysctl:
		if err = writeSysctl(s.Key, s.Value); errors.Is(err, fs.ErrNotExist) {
			err = nil // the device went, and the setting with it
		}
	case AddAddress:
		if err = changeAddress(s.Address, netlink.AddrAdd); errors.Is(err, unix.EEXIST) {
			err = nil
		}
		if err == nil {
			err = awaitLocal(ctx, s.Address.Addr())
		}
	case DelAddress:
		if err = changeAddress(s.Address, netlink.AddrDel); errors.Is(err, unix.EADDRNOTAVAIL) {
			err = nil
		}
	default:
		err = fmt.Errorf("unknown step %d", s.Kind)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("realserver: %s: %w%s", s, err, remedy(err))
}

// changeAddress adds or deletes an address of lo.
//
// IPv4: scope host, so that the kernel never picks it as the source of a
// connection to somewhere else. IPv6 has no such scope: a preferred lifetime of
// 0 makes the address deprecated, the last choice of RFC 6724 rule 3. No
// duplicate address detection: many servers have the VIP, by design.
func changeAddress(p netip.Prefix, change func(netlink.Link, *netlink.Addr) error) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is4() {
		a.Scope = unix.RT_SCOPE_HOST
	} else {
		const forever = 1<<32 - 1
		a.Flags = unix.IFA_F_NODAD
		a.ValidLft, a.PreferedLft = forever, 0
	}
	return change(lo, a)
}

// awaitLocal waits until the host takes packets for the address as its own. The
// kernel makes the route of an IPv6 address in its own time, even without
// duplicate address detection; a server started at once would lose its first
// clients.
func awaitLocal(ctx context.Context, a netip.Addr) error {
	const within = 5 * time.Second
	for begin, pause := time.Now(), time.Millisecond; ; pause *= 2 {
		routes, err := netlink.RouteGet(a.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Since(begin) > within {
			return errors.Join(fmt.Errorf("the kernel still has no local route to %s after %s", a, within), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func remedy(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "; CAP_NET_ADMIN is needed: run it as root, or by the systemd unit"
	case errors.Is(err, unix.EROFS):
		return "; /proc/sys is read-only here: in a unit set ProtectKernelTunables=no, in a container run svm-rs on its host"
	}
	return ""
}
