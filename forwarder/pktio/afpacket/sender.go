package afpacket

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// SenderConfig describes a sender.
type SenderConfig struct {
	// Device is the interface's name in the network namespace of the calling
	// thread. It needs no address.
	Device string
	// Qdisc sends through the device's queueing discipline. Without it frames go
	// straight to the driver: faster, but traffic shaping does not apply, and
	// tcpdump on this host does not see them.
	Qdisc bool
}

// Sender sends frames straight from where they lie by sendmmsg. Send belongs to
// one goroutine.
type Sender struct {
	device string
	fd     int
	msgs   [pktio.BatchSize]unix.Mmsghdr
	iovs   [pktio.BatchSize]unix.Iovec

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
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("afpacket: %s: packet socket: %w (needs CAP_NET_RAW)", cfg.Device, err)
	}
	bypass := 1
	if cfg.Qdisc {
		bypass = 0
	}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, bypass)
	}
	if err == nil {
		// Frames on their way count against this buffer until the driver is done
		// with them; a refusal only means the default.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, DefaultQueueBytes) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, DefaultQueueBytes)
		}
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex}) // protocol 0
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("afpacket: %s: opening the sender: %w", cfg.Device, err)
	}
	s := &Sender{device: cfg.Device, fd: fd}
	for i := range s.msgs {
		s.msgs[i].Hdr.Iov = &s.iovs[i]
		s.msgs[i].Hdr.SetIovlen(1)
	}
	return s, nil
}

// Send is described at pktio.Sender. Frames that are refused cost a system call
// each. A device that is down loses the whole batch, counted under Errors.
func (s *Sender) Send(tx *pktio.Batch) error {
	if s.closed.Load() {
		return pktio.ErrClosed
	}
	n := tx.N
	for i := range tx.Frames[:n] {
		b := tx.Frames[i].Buf
		s.iovs[i].Base = unsafe.SliceData(b)
		s.iovs[i].SetLen(len(b))
	}
	err := s.sendAll(tx, n)
	for i := range s.iovs[:n] {
		s.iovs[i].Base = nil // keep nothing
	}
	return err
}

func (s *Sender) sendAll(tx *pktio.Batch, n int) error {
	for i := 0; i < n; {
		done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
			uintptr(unsafe.Pointer(&s.msgs[i])), uintptr(n-i), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			var bytes uint64
			for j := i; j < i+int(done); j++ {
				bytes += uint64(len(tx.Frames[j].Buf) - pktio.HeaderLen)
			}
			s.packets.Add(uint64(done))
			s.bytes.Add(bytes)
			i += int(done)
			continue
		}
		// The error is that of the first message; those before it were counted.
		switch errno {
		case unix.EINTR:
			continue
		case unix.ENOBUFS, unix.EAGAIN:
			s.busy.Add(1)
		case unix.EMSGSIZE:
			s.tooLong.Add(1)
		case unix.ENETDOWN:
			s.errors.Add(uint64(n - i))
			return nil
		case unix.ENXIO, unix.ENODEV:
			s.errors.Add(uint64(n - i))
			return pktio.ErrGone
		default:
			s.errors.Add(1)
		}
		i++
	}
	return nil
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

// Close closes the socket. Only after the last Send. Closing twice is harmless.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	if err := unix.Close(s.fd); err != nil {
		return fmt.Errorf("afpacket: %s: closing the sender: %w", s.device, err)
	}
	return nil
}
