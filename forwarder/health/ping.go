package health

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// pinger is an ICMP or ICMPv6 socket. A ping socket (datagram) comes first:
// there the kernel gives the id and hands over the answers to it alone. Where
// net.ipv4.ping_group_range forbids it, a raw socket (CAP_NET_RAW) does.
type pinger struct {
	file *os.File
	to   netip.Addr
	raw  bool
}

// ping sends one echo request and waits for its answer.
func (p *probe) ping(ctx context.Context) Result {
	p.step = openingICMP
	g, err := p.openPinger()
	if err != nil {
		return p.fault(err)
	}
	defer interruptible(ctx, g.file)()
	// The token tells our answer from those to other checks of the same VIP: a
	// raw socket sees them all.
	var random [20]byte
	rand.Read(random[:])
	echo := &icmp.Echo{ID: int(binary.BigEndian.Uint16(random[:])), Seq: int(binary.BigEndian.Uint16(random[2:])), Data: random[4:]}
	p.step = "sending the echo request"
	if err := g.send(echo); err != nil {
		return p.fault(err)
	}
	p.step = "waiting for the echo reply"
	if err := g.await(echo); err != nil {
		return p.fault(err)
	}
	return passed("echo reply")
}

func (p *probe) openPinger() (*pinger, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if p.Addr.Addr().Is6() {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	raw := false
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|flags, proto)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EPROTONOSUPPORT) {
		raw = true
		fd, err = unix.Socket(family, unix.SOCK_RAW|flags, proto)
	}
	if err != nil {
		return nil, err
	}
	// A raw socket would also get the ICMP errors about other checks of this VIP,
	// at other servers, so it asks for none and stays unconnected.
	if err := p.setOptions(fd, !raw); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &pinger{file: os.NewFile(uintptr(fd), "icmp"), to: p.Addr.Addr(), raw: raw}, nil
}

func (g *pinger) send(echo *icmp.Echo) error {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: echo}
	var sa unix.Sockaddr
	if g.to.Is4() {
		sa = &unix.SockaddrInet4{Addr: g.to.As4()}
	} else {
		// The kernel fills in ICMPv6 checksums: they cover the source address, which
		// is not chosen yet.
		m.Type = ipv6.ICMPTypeEchoRequest
		sa = &unix.SockaddrInet6{Addr: g.to.As16()}
	}
	b, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	conn, err := g.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), b, 0, sa)
		return !errors.Is(sent, unix.EAGAIN)
	}); err != nil {
		return err
	}
	return sent
}

// await returns nil once the answer to echo is there.
func (g *pinger) await(echo *icmp.Echo) error {
	conn, err := g.file.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		var n int
		var from unix.Sockaddr
		var got error
		if err := conn.Read(func(fd uintptr) bool {
			n, from, got = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(got, unix.EAGAIN)
		}); err != nil {
			return err
		}
		if errors.Is(got, unix.EINTR) {
			continue
		}
		if got != nil {
			return got
		}
		if g.answers(buf[:n], from, echo) {
			return nil
		}
	}
}

// answers tells whether a received message is the echo reply to ours.
func (g *pinger) answers(b []byte, from unix.Sockaddr, echo *icmp.Echo) bool {
	proto, reply := unix.IPPROTO_ICMP, icmp.Type(ipv4.ICMPTypeEchoReply)
	var src netip.Addr
	switch sa := from.(type) {
	case *unix.SockaddrInet4:
		src = netip.AddrFrom4(sa.Addr)
		if g.raw { // only here the IP header comes along
			if len(b) < 20 || len(b) < int(b[0]&15)*4 {
				return false
			}
			b = b[int(b[0]&15)*4:]
		}
	case *unix.SockaddrInet6:
		src = netip.AddrFrom16(sa.Addr)
		proto, reply = unix.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoReply
	}
	m, err := icmp.ParseMessage(proto, b)
	if err != nil || m.Type != reply || src != g.to.WithZone("") {
		return false
	}
	body, ok := m.Body.(*icmp.Echo)
	// A ping socket's id is the kernel's, and only its answers come.
	return ok && (!g.raw || body.ID == echo.ID) && body.Seq == echo.Seq && bytes.Equal(body.Data, echo.Data)
}
