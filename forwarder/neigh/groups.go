package neigh

import (
	"log/slog"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// groups keeps a device in the multicast groups whose messages the agent needs.
// An ordinary IPv6 socket joins them, so that the kernel also sends MLD reports and
// a snooping switch lets the messages through; when the device has no IPv6, or the
// socket may join no more, the packet socket opens the device's filter instead.
type groups struct {
	socks  []int // several: one socket's memberships are limited (net.core.optmem_max)
	joined map[netip.Addr]int
	mac    [6]byte // virtual MAC address that the device receives for us
}

const byPacket = -1 // joined by the packet socket

func newGroups() *groups { return &groups{joined: map[netip.Addr]int{}} }

// joined tells what the devices must be able to receive, and whether that changed
// since it was called last: all VIPs, also on the backup director, so that a
// takeover need not wait for a switch to learn it.
func (c *core) joined() (vips []netip.Addr, mac [6]byte, changed bool) {
	changed, c.regroup = c.regroup, false
	if !changed {
		return
	}
	for a := range c.vips {
		vips = append(vips, a)
	}
	if c.active {
		mac = c.mac
	}
	return vips, mac, true
}

// set joins and leaves groups so that exactly the wanted ones are left: all-nodes
// on each device, and on the client device the VIPs' solicited-node groups.
func (g *groups) set(p *port, log *slog.Logger, vips []netip.Addr, mac [6]byte) {
	want := map[netip.Addr]bool{allNodes(): true}
	if p.is&client != 0 {
		for _, a := range vips {
			if a.Is6() {
				want[nodeGroup(a)] = true
			}
		}
		g.receive(p, log, mac)
	}
	for a, sock := range g.joined {
		if !want[a] {
			g.leave(p, a, sock)
			delete(g.joined, a)
		}
	}
	for a := range want {
		if _, ok := g.joined[a]; ok {
			continue
		}
		sock, err := g.join(p, a)
		if err != nil {
			log.Warn("neigh: cannot join a multicast group: neighbour solicitations may not arrive",
				"device", p.Device, "group", a, "error", err)
		}
		g.joined[a] = sock // also after an error: said once is enough
	}
}

func (g *groups) join(p *port, a netip.Addr) (int, error) {
	req := unix.IPv6Mreq{Multiaddr: a.As16(), Interface: uint32(p.Index)}
	if n := len(g.socks); n > 0 && unix.SetsockoptIPv6Mreq(g.socks[n-1], unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &req) == nil {
		return g.socks[n-1], nil
	}
	// The first one, or the last one is full.
	if sock, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		if unix.SetsockoptIPv6Mreq(sock, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &req) == nil {
			g.socks = append(g.socks, sock)
			return sock, nil
		}
		unix.Close(sock)
	}
	mac := groupMAC(a)
	return byPacket, p.ndp.JoinGroup(net.HardwareAddr(mac[:]))
}

func (g *groups) leave(p *port, a netip.Addr, sock int) {
	if sock == byPacket {
		mac := groupMAC(a)
		_ = p.ndp.LeaveGroup(net.HardwareAddr(mac[:])) // the close at the end leaves it too
		return
	}
	req := unix.IPv6Mreq{Multiaddr: a.As16(), Interface: uint32(p.Index)}
	_ = unix.SetsockoptIPv6Mreq(sock, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, &req)
}

// receive makes the device take frames for a virtual MAC address.
func (g *groups) receive(p *port, log *slog.Logger, mac [6]byte) {
	if mac == p.MAC {
		mac = [6]byte{}
	}
	if mac == g.mac {
		return
	}
	for _, m := range []struct {
		mac [6]byte
		opt int
	}{{g.mac, unix.PACKET_DROP_MEMBERSHIP}, {mac, unix.PACKET_ADD_MEMBERSHIP}} {
		if m.mac == [6]byte{} {
			continue
		}
		req := unix.PacketMreq{Ifindex: int32(p.Index), Type: unix.PACKET_MR_UNICAST, Alen: 6}
		copy(req.Address[:], m.mac[:])
		raw, err := p.arp.SyscallConn()
		if err == nil {
			var failed error
			err = raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, m.opt, &req)
			})
			if err == nil {
				err = failed
			}
		}
		if err != nil {
			log.Warn("neigh: cannot receive frames for a virtual MAC address", "device", p.Device, "mac", macString(m.mac), "error", err)
		}
	}
	g.mac = mac
}

func (g *groups) close() {
	for _, s := range g.socks {
		unix.Close(s)
	}
	g.socks = nil
}
