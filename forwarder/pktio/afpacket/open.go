package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// NewReceivers opens n receivers on one device. With more than one, the kernel
// spreads the flows over them by a hash of addresses and ports that is the same
// for both directions; fragments go by their addresses alone. Each frame comes
// to exactly one receiver, and none that this host sends comes to any.
//
// Nothing enters before SetFilter. Needs CAP_NET_RAW in the network namespace
// of the calling thread. Each receiver is closed by its owner; the group goes
// with its last member.
func NewReceivers(cfg Config, n int) ([]*Receiver, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("afpacket: %s: %w", cfg.Device, err)
	}
	if n < 1 {
		return nil, fmt.Errorf("afpacket: %s: %d receivers: want at least 1", cfg.Device, n)
	}
	ifindex, err := index(cfg.Device)
	if err != nil {
		return nil, err
	}
	var rs []*Receiver
	group := 0
	for i := range n {
		r, err := newReceiver(cfg, ifindex)
		if err == nil {
			rs = append(rs, r)
			if n > 1 {
				group, err = r.join(i == 0, group)
			}
		}
		if err != nil {
			for _, r := range rs {
				r.Close()
			}
			return nil, fmt.Errorf("afpacket: %s: receiver %d of %d: %w", cfg.Device, i+1, n, err)
		}
	}
	return rs, nil
}

func newReceiver(cfg Config, ifindex int) (_ *Receiver, err error) {
	// Protocol 0: nothing comes in before the bind, which is the last step.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("packet socket: %w (needs CAP_NET_RAW)", err)
		}
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	r := &Receiver{
		device:  cfg.Device,
		ifindex: ifindex,
		fd:      fd,
		wake:    -1,
		long:    newLongBuffers(cfg.LongBuffers, cfg.LongSize),
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if err := r.attach([]bpf.RawInstruction{{Op: 0x06}}); err != nil { // ret #0
		return nil, err
	}
	for _, o := range []struct {
		name       string
		opt, value int
	}{
		{"PACKET_VERSION", unix.PACKET_VERSION, unix.TPACKET_V2},
		{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR, 1},
		{"PACKET_COPY_THRESH", unix.PACKET_COPY_THRESH, 1},
		{"PACKET_IGNORE_OUTGOING", unix.PACKET_IGNORE_OUTGOING, 1},
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, o.opt, o.value); err != nil {
			return nil, fmt.Errorf("%s: %w (needs Linux 4.20 or newer)", o.name, err)
		}
	}
	// The forced form needs CAP_NET_ADMIN in the first user namespace; the other
	// one never fails but silently caps.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, cfg.QueueBytes) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, cfg.QueueBytes); err != nil {
			return nil, fmt.Errorf("SO_RCVBUF: %w", err)
		}
	}
	if r.ring, err = mapRing(fd, uint32(cfg.Slots), uint32(cfg.SlotSize)); err != nil {
		return nil, err
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	r.poll = [2]unix.PollFd{
		{Fd: int32(fd), Events: unix.POLLIN},
		{Fd: int32(r.wake), Events: unix.POLLIN},
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	return r, nil
}

// join makes the receiver a member of a fanout group: a new one, whose number
// the kernel chooses so that no other program's group is met, or the given one.
// The group has a hook of its own, so it must be told about outgoing frames too.
func (r *Receiver) join(first bool, group int) (int, error) {
	kind := unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	if first {
		kind |= unix.PACKET_FANOUT_FLAG_UNIQUEID
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, group|kind<<16); err != nil {
		return 0, fmt.Errorf("PACKET_FANOUT: %w (the device must be up; needs Linux 5.15 or newer)", err)
	}
	if !first {
		return group, nil
	}
	v, err := unix.GetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return 0, fmt.Errorf("reading PACKET_FANOUT: %w", err)
	}
	return v & 0xffff, nil
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)}) }

var _ pktio.Receiver = (*Receiver)(nil)
