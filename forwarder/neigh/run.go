package neigh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

// port is a device with its two sockets: one bound to ARP, one to IPv6. Bound so,
// they do not see what the host sends, and the other traffic of the device passes
// by the ARP socket untouched.
type port struct {
	Interface
	is       side
	arp, ndp *packet.Conn
	groups   *groups
}

func (a *Agent) run(ctx context.Context) (err error) {
	ports, err := a.open()
	var wg sync.WaitGroup
	defer func() {
		for _, p := range ports {
			p.close()
		}
		wg.Wait()
	}()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, p := range ports {
		for _, conn := range []*packet.Conn{p.arp, p.ndp} {
			wg.Go(func() {
				if err := a.read(ctx, ports, p, conn); err != nil {
					cancel(err)
				}
			})
		}
	}
	house := time.NewTicker(time.Second)
	defer house.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	a.housekeep(ports)
	for {
		a.mu.Lock()
		outs, next := a.core.tick(time.Now())
		vips, mac, regroup := a.core.joined()
		a.finish(ports, outs)
		for _, p := range ports {
			if regroup {
				p.groups.set(p, a.cfg.Log, vips, mac)
			}
		}
		due.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return nil
		case <-a.wake:
		case <-due.C:
		case <-house.C:
			a.housekeep(ports)
		}
	}
}

// read hands one socket's frames to the core until the socket is closed.
func (a *Agent) read(ctx context.Context, ports []*port, p *port, conn *packet.Conn) error {
	buf := make([]byte, snap)
	for failed := 0; ; {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
				return nil
			}
			a.mu.Lock()
			a.core.count[ReadFailed]++
			a.mu.Unlock()
			// A device that goes down says so once, and works again when it is up.
			if failed++; failed == 100 {
				return fmt.Errorf("neigh: device %s cannot be read: %w", p.Device, err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		failed = 0
		a.mu.Lock()
		outs := a.core.input(time.Now(), p.is, buf[:n])
		a.finish(ports, outs)
	}
}

// finish sends what the core made. It is called with the lock held and gives it
// up: the core's slice is copied, sending may wait for a device.
func (a *Agent) finish(ports []*port, outs []out) {
	if len(outs) > 0 {
		outs = append([]out(nil), outs...)
	}
	early, changed := a.core.early, a.core.changed
	a.core.early, a.core.changed = false, false
	a.mu.Unlock()
	if changed {
		poke(a.changes)
	}
	if early {
		poke(a.wake)
	}
	failed, again := uint64(0), false
	for _, o := range outs {
		for _, p := range ports {
			if p.is&o.to != 0 && p.send(o.frame) != nil {
				failed++
				again = again || o.why == Announced
			}
		}
	}
	if failed == 0 {
		return
	}
	a.mu.Lock()
	a.core.count[SendFailed] += failed
	if again {
		a.core.reannounce(time.Now())
		a.core.early = false
		poke(a.wake)
	}
	a.mu.Unlock()
}

// housekeep reads what has no notification: the sockets' losses, and a link-local
// address that a device gets some time after it came up.
func (a *Agent) housekeep(ports []*port) {
	lost, local := uint64(0), netip.Addr{}
	for _, p := range ports {
		for _, conn := range []*packet.Conn{p.arp, p.ndp} {
			if s, err := conn.Stats(); err == nil {
				lost += uint64(s.Drops)
			}
		}
		if p.is&server != 0 && !slices.ContainsFunc(p.Addrs, netip.Addr.Is6) {
			local = linkLocal(p.Index)
		}
	}
	a.mu.Lock()
	a.core.count[Overrun] += lost
	a.core.linkLocal = local
	a.mu.Unlock()
}

// open opens the sockets of one or two devices.
func (a *Agent) open() (ports []*port, err error) {
	c, s := &port{Interface: a.cfg.Client, is: client}, &port{Interface: a.cfg.Server, is: server}
	all := []*port{c, s}
	if c.Index == s.Index {
		c.is, all = client|server, all[:1]
	}
	for _, p := range all {
		if p.arp, err = p.listen(etherARP, filterARP); err != nil {
			return ports, err
		}
		ports = append(ports, p)
		if p.ndp, err = p.listen(etherIPv6, filterNDP); err != nil {
			return ports, err
		}
		p.groups = newGroups()
	}
	return ports, nil
}

func (p *port) listen(proto int, filter func([6]byte) ([]bpf.RawInstruction, error)) (*packet.Conn, error) {
	prog, err := filter(p.MAC)
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(&net.Interface{Index: p.Index, Name: p.Device}, packet.Raw, proto, &packet.Config{Filter: prog})
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("neigh: packet socket on %s: %w: run with CAP_NET_RAW", p.Device, err)
	case err != nil:
		return nil, fmt.Errorf("neigh: packet socket on %s: %w: is the device there? (ip link show %s)", p.Device, err, p.Device)
	}
	return conn, nil
}

func (p *port) send(frame []byte) error {
	conn := p.arp
	if frame[12] == etherIPv6>>8 {
		conn = p.ndp
	}
	_, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
	return err
}

func (p *port) close() {
	for _, conn := range []*packet.Conn{p.arp, p.ndp} {
		if conn != nil {
			conn.Close() // nothing to do about an error
		}
	}
	if p.groups != nil {
		p.groups.close()
	}
}

// linkLocal returns a device's IPv6 link-local address, if it has one.
func linkLocal(index int) netip.Addr {
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return netip.Addr{}
	}
	addrs, err := i.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Is6() && !ip.Is4In6() && ip.IsLinkLocalUnicast() {
				return ip
			}
		}
	}
	return netip.Addr{}
}
