package ha

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// packet is one received IP payload.
type packet struct {
	path     int
	data     []byte
	src, dst netip.Addr
	ttl      int // TTL or hop limit
}

// transport sends and receives VRRP's IP protocol on the runner's paths. recv
// blocks until a packet or close, and is for one goroutine a path; the others
// are for one goroutine.
type transport interface {
	send(path int, dst netip.Addr, b []byte) error
	recv(path int) (packet, error)
	linkUp(path int) (bool, error)
	close()
}

// raw is the transport of raw sockets, one for each path, bound to its device.
type raw struct {
	paths []path
	links []Link

	mu      sync.Mutex // guards sockets and closed: renew replaces one
	sockets []*rawSocket
	closed  bool
}

type rawSocket struct {
	file   *os.File
	conn   syscall.RawConn
	device string
	index  int
	info   []byte // control message with our source address and device
	buf    []byte // of recv, which one goroutine calls for each path
	oob    []byte
}

func openRaw(r *Runner) (transport, error) {
	t := &raw{paths: r.paths, links: r.cfg.Links}
	for i := range t.paths {
		s, err := t.openPath(i, true)
		if err != nil {
			t.close()
			return nil, fmt.Errorf("ha: %s: %w", t.paths[i].name, err)
		}
		t.sockets = append(t.sockets, s)
	}
	return t, nil
}

// openPath opens the socket of one path. Only the first time is Link.Index right.
func (t *raw) openPath(i int, first bool) (*rawSocket, error) {
	p := &t.paths[i]
	l := &t.links[p.link]
	dev, err := net.InterfaceByName(l.Device)
	if first && l.Index != 0 {
		dev, err = net.InterfaceByIndex(l.Index)
	}
	if err != nil {
		return nil, err
	}
	if p.v6 && len(p.peers) == 0 {
		p.local = linkLocal(dev, l.Addr6)
	}
	return openSocket(p, dev)
}

// linkLocal is the address that IPv6 advertisements to the group come from: the
// device's link-local one (RFC 9568 section 5.1.2.1), else the one configured.
func linkLocal(dev *net.Interface, configured netip.Addr) netip.Addr {
	addrs, _ := dev.Addrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Is6() && ip.IsLinkLocalUnicast() {
				return ip
			}
		}
	}
	return configured
}

func openSocket(p *path, dev *net.Interface) (s *rawSocket, err error) {
	family := unix.AF_INET
	if p.v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, Protocol)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			err = errors.New("raw sockets are not permitted: give the process CAP_NET_RAW")
		}
		return s, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, dev.Name); err != nil {
		return s, fmt.Errorf("bind to device: %w", err)
	}
	setup := setup4
	if p.v6 {
		setup = setup6
	}
	if err := setup(fd, dev.Index, len(p.peers) == 0); err != nil {
		return s, err
	}
	s = &rawSocket{device: dev.Name, index: dev.Index}
	if p.v6 {
		s.info = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: p.local.As16(), Ifindex: uint32(dev.Index)})
	} else {
		s.info = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: p.local.As4(), Ifindex: int32(dev.Index)})
	}
	s.buf, s.oob = make([]byte, 2048), make([]byte, 256)
	s.file = os.NewFile(uintptr(fd), "vrrp "+p.name)
	s.conn, err = s.file.SyscallConn()
	return s, err
}

// option is one integer socket option.
type option struct {
	level, name, value int
	what               string
}

func setOptions(fd int, opts []option) error {
	for _, o := range opts {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("%s: %w", o.what, err)
		}
	}
	return nil
}

func setup4(fd, index int, group bool) error {
	err := setOptions(fd, []option{
		{unix.IPPROTO_IP, unix.IP_TTL, 255, "TTL"},
		{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255, "multicast TTL"},
		{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0, "multicast loop"},
		{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0, "multicast all"},
		{unix.IPPROTO_IP, unix.IP_TOS, 0xc0, "DSCP CS6"},
	})
	if err != nil || !group {
		return err
	}
	m := &unix.IPMreqn{Multiaddr: Group4().As4(), Ifindex: int32(index)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, m); err != nil {
		return fmt.Errorf("join 224.0.0.18: %w", err)
	}
	return nil
}

func setup6(fd, index int, group bool) error {
	err := setOptions(fd, []option{
		{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255, "hop limit"},
		{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255, "multicast hop limit"},
		{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0, "multicast loop"},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, "packet info"},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1, "receive hop limit"},
		{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 0xc0, "DSCP CS6"},
	})
	if err != nil || !group {
		return err
	}
	m := &unix.IPv6Mreq{Multiaddr: Group6().As16(), Interface: uint32(index)}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, m); err != nil {
		return fmt.Errorf("join ff02::12: %w", err)
	}
	return nil
}

func (t *raw) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, s := range t.sockets {
		s.file.Close()
	}
}

func (t *raw) socket(path int) *rawSocket {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sockets[path]
}

func (t *raw) send(path int, dst netip.Addr, b []byte) error {
	s := t.socket(path)
	var to unix.Sockaddr
	if dst.Is6() {
		a := &unix.SockaddrInet6{Addr: dst.As16()}
		if dst.IsLinkLocalUnicast() || dst.IsLinkLocalMulticast() {
			a.ZoneId = uint32(s.index)
		}
		to = a
	} else {
		to = &unix.SockaddrInet4{Addr: dst.As4()}
	}
	var err error
	if e := s.conn.Control(func(fd uintptr) { err = unix.Sendmsg(int(fd), b, s.info, to, unix.MSG_DONTWAIT) }); e != nil {
		return e
	}
	return err
}

// linkUp tells whether the device is up and has its carrier. A device that was
// taken away and made anew has another index, to which the socket is not bound:
// it gets a new one.
func (t *raw) linkUp(path int) (up bool, err error) {
	s := t.socket(path)
	flags, err := s.ask(unix.SIOCGIFFLAGS)
	if err != nil {
		return false, err
	}
	const want = unix.IFF_UP | unix.IFF_RUNNING
	if flags.Uint16()&want != want {
		return false, nil
	}
	index, err := s.ask(unix.SIOCGIFINDEX)
	if err != nil {
		return false, err
	}
	if int(index.Uint32()) != s.index {
		return false, t.renew(path)
	}
	return true, nil
}

func (s *rawSocket) ask(what uint) (req *unix.Ifreq, err error) {
	if req, err = unix.NewIfreq(s.device); err != nil {
		return nil, err
	}
	if e := s.conn.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), what, req) }); e != nil {
		return nil, e
	}
	return req, err
}

func (t *raw) renew(path int) error {
	s, err := t.openPath(path, false)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sockets[path].file.Close()
	t.sockets[path] = s
	return nil
}

// boottime also counts the time in which the machine was suspended.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 1
	}
	return time.Duration(ts.Nano())
}
