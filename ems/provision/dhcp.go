package provision

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	dhcpServerPort = 67
	dhcpClientPort = 68
	// workers is how many messages are answered at once: each may wait for a probe.
	workers = 16
	// What is read in a second at most; when more comes the kernel drops it.
	readRate = 5000
)

// service is a desk on a socket.
type service struct {
	desk   *desk
	device string
	conn   *ipv4.PacketConn
	index  int
	active func() bool
	count  func(Count)
	// unknown is told of machines that aren't in the cluster file.
	unknown func(mac net.HardwareAddr, name string)

	macs    *buckets[netMAC]
	reading *buckets[struct{}]
	// stranger bounds what is parsed of machines whose MAC isn't in the cluster file.
	stranger *buckets[struct{}]

	mu   sync.Mutex
	busy map[string]bool // real servers whose message is being answered
}

type netMAC [6]byte

// listenDHCP opens the server's port on the device alone.
func listenDHCP(ctx context.Context, device string) (*ipv4.PacketConn, int, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return nil, 0, fmt.Errorf("device %s: %w", device, err)
	}
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) {
			serr = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.BindToDevice(int(fd), device))
		})
		return errors.Join(err, serr)
	}}
	pc, err := conf.ListenPacket(ctx, "udp4", fmt.Sprintf("0.0.0.0:%d", dhcpServerPort))
	if errors.Is(err, unix.EADDRINUSE) {
		err = fmt.Errorf("%w: another DHCP server runs on this machine: stop it, or set delivery.dhcp to false", err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("DHCP on %s: %w", device, err)
	}
	return ipv4.NewPacketConn(pc), dev.Index, nil
}

// run answers until ctx ends. It closes conn.
func (s *service) run(ctx context.Context) error {
	s.macs = newBuckets[netMAC](5, 10, 4096)
	s.reading = newBuckets[struct{}](readRate, readRate/10, 1)
	s.stranger = newBuckets[struct{}](100, 200, 1)
	s.busy = make(map[string]bool)
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer s.conn.Close()
	defer stop()
	slots := make(chan struct{}, workers)
	buf := make([]byte, 2048)
	for {
		if !s.reading.take(struct{}{}, time.Now()) {
			s.count(DHCPLimited)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(5 * time.Millisecond):
			}
		}
		n, _, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("DHCP on %s: %w", s.device, err)
		}
		if !s.active() {
			continue
		}
		m, node := s.sift(buf[:n], time.Now())
		if m == nil {
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			s.count(DHCPLimited)
			s.done(node)
			continue
		}
		all.Go(func() {
			defer func() { <-slots; s.done(node) }()
			s.serve(ctx, m)
		})
	}
}

// sift returns a message that is to be answered, with the real server's name, marked
// busy. What is cheap to see comes first.
func (s *service) sift(b []byte, now time.Time) (*dhcpv4.DHCPv4, string) {
	// op, htype, hlen; chaddr begins at 28 (RFC 2131, figure 1).
	if len(b) < 240 || b[0] != byte(dhcpv4.OpcodeBootRequest) || b[1] != byte(iana.HWTypeEthernet) || b[2] != 6 {
		s.count(DHCPMalformed)
		return nil, ""
	}
	mac := netMAC(b[28:34])
	known := s.desk.byMAC[net.HardwareAddr(mac[:]).String()] != nil
	if known && !s.macs.take(mac, now) || !known && !s.stranger.take(struct{}{}, now) {
		s.count(DHCPLimited)
		return nil, ""
	}
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		s.count(DHCPMalformed)
		return nil, ""
	}
	if relay := addr4(m.GatewayIPAddr); relay.IsValid() && !s.desk.net.Contains(relay) {
		s.count(DHCPRelayed)
		return nil, ""
	}
	rs := s.desk.who(m)
	if rs == nil {
		s.count(DHCPUnknown)
		s.unknown(m.ClientHWAddr, m.HostName())
		return nil, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[rs.Name] {
		s.count(DHCPLimited) // it asks again before it was answered
		return nil, ""
	}
	s.busy[rs.Name] = true
	return m, rs.Name
}

func (s *service) done(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, node)
}

func (s *service) serve(ctx context.Context, m *dhcpv4.DHCPv4) {
	r := s.desk.answer(ctx, m, s.desk.who(m), time.Now())
	if r == nil || !s.active() {
		return
	}
	cm := &ipv4.ControlMessage{Src: s.desk.self.AsSlice(), IfIndex: s.index}
	if _, err := s.conn.WriteTo(r.ToBytes(), cm, destination(m, r)); err != nil && ctx.Err() == nil {
		s.desk.note(DHCPFailed, "send", fmt.Sprintf("a DHCP answer to %s can't be sent on %s: %v", m.ClientHWAddr, s.device, err))
	}
}

// destination is where the answer goes (RFC 2131, section 4.1). To a machine that has
// no address yet it is broadcast, whether that asked for it or not.
func destination(m, r *dhcpv4.DHCPv4) *net.UDPAddr {
	to, port := netip.AddrFrom4([4]byte{255, 255, 255, 255}), uint16(dhcpClientPort)
	if relay := addr4(m.GatewayIPAddr); relay.IsValid() {
		to, port = relay, dhcpServerPort
	} else if has := addr4(m.ClientIPAddr); has.IsValid() && r.MessageType() != dhcpv4.MessageTypeNak {
		to = has
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port))
}
