package afpacket

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// SenderConfig describes a sender.
type SenderConfig struct {
	// Device is the interface's name in the network namespace of the calling
	// thread. It needs no address.
	Device string
	// Qdisc sends everything through the device's queueing discipline. Without it
	// frames go straight to the driver: faster, but traffic shaping does not
	// apply, and tcpdump on this host does not see them. Super-frames that the
	// device cannot cut itself go through the queueing discipline in any case.
	Qdisc bool
}

// Sender sends frames straight from where they lie by sendmmsg. Send belongs to
// one goroutine.
type Sender struct {
	device string
	fd     int
	queued int // socket that goes through the queueing discipline; may be fd
	// cutting is set once the device has refused a super-frame on the short way.
	// The driver's entry takes no list of segments, so a device without
	// segmentation offload, or a frame beyond its limit, fails there.
	cutting bool
	msgs    [pktio.BatchSize]unix.Mmsghdr
	iovs    [pktio.BatchSize]unix.Iovec

	packets, bytes, busy, tooLong, errors atomic.Uint64

	mu     sync.Mutex
	closed atomic.Bool
}

var _ pktio.Sender = (*Sender)(nil)

// NewSender opens a sender. It receives nothing. Needs CAP_NET_RAW.
func NewSender(cfg SenderConfig) (*Sender, error) {
	ifindex, err := index(cfg.Device)
	if err != nil {
		return nil, err
	}
	s := &Sender{device: cfg.Device}
	if s.queued, err = sendSocket(ifindex, false); err == nil {
		s.fd = s.queued
		if !cfg.Qdisc {
			if s.fd, err = sendSocket(ifindex, true); err != nil {
				unix.Close(s.queued)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("afpacket: %s: opening the sender: %w", cfg.Device, err)
	}
	for i := range s.msgs {
		s.msgs[i].Hdr.Iov = &s.iovs[i]
		s.msgs[i].Hdr.SetIovlen(1)
	}
	return s, nil
}

func sendSocket(ifindex int, bypass bool) (_ int, err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w (needs CAP_NET_RAW)", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return -1, fmt.Errorf("PACKET_VNET_HDR: %w", err)
	}
	if bypass {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
			return -1, fmt.Errorf("PACKET_QDISC_BYPASS: %w", err)
		}
	}
	// Frames on their way count against this buffer until the driver is done with
	// them; a refusal only means a smaller one.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, DefaultQueueBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, DefaultQueueBytes)
	}
	// Protocol 0: the socket hears nothing.
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex}); err != nil {
		return -1, fmt.Errorf("bind: %w", err)
	}
	return fd, nil
}

// Stats reads the counters. From any goroutine.
func (s *Sender) Stats() pktio.TxStats {
	return pktio.TxStats{
		Packets: s.packets.Load(),
		Bytes:   s.bytes.Load(),
		Busy:    s.busy.Load(),
		TooLong: s.tooLong.Load(),
		Errors:  s.errors.Load(),
	}
}

// Close closes the sockets. Only after the last Send. Closing twice is harmless.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	err := unix.Close(s.fd)
	if s.queued != s.fd {
		if e := unix.Close(s.queued); err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("afpacket: %s: closing the sender: %w", s.device, err)
	}
	return nil
}
