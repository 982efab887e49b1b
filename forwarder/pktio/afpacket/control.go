package afpacket

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// SetFilter replaces the filter in one step, while traffic runs: each frame is
// judged by the old or the new one. Frames that are in the ring already stay.
// All receivers of a group need the same filter.
func (r *Receiver) SetFilter(f pktio.Filter) error {
	prog, err := f.Assemble()
	if err == nil {
		err = r.attach(prog)
	}
	if err != nil {
		return fmt.Errorf("afpacket: %s: %w", r.device, err)
	}
	return nil
}

func (r *Receiver) attach(prog []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(prog))
	for i, p := range prog {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return pktio.ErrClosed
	}
	err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("filter of %d instructions: %w (ENOMEM: raise net.core.optmem_max)", len(filter), err)
	}
	return nil
}

// AddMAC makes the device accept frames to mac, such as a virtual router's,
// besides its own address, until DropMAC or Close. The filter must name it too.
func (r *Receiver) AddMAC(mac [6]byte) error { return r.membership(mac, unix.PACKET_ADD_MEMBERSHIP) }

// DropMAC takes back one AddMAC; of an address that was not added it does nothing.
func (r *Receiver) DropMAC(mac [6]byte) error { return r.membership(mac, unix.PACKET_DROP_MEMBERSHIP) }

func (r *Receiver) membership(mac [6]byte, opt int) error {
	m := unix.PacketMreq{Ifindex: int32(r.ifindex), Type: unix.PACKET_MR_UNICAST, Alen: 6}
	copy(m.Address[:], mac[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return pktio.ErrClosed
	}
	if err := unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, opt, &m); err != nil {
		return fmt.Errorf("afpacket: %s: receiving for %x: %w", r.device, mac, err)
	}
	return nil
}

// Stats reads the counters. From any goroutine, also after Close.
func (r *Receiver) Stats() pktio.RxStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.readDrops()
	}
	return pktio.RxStats{
		Packets:   r.packets.Load(),
		Bytes:     r.bytes.Load(),
		Dropped:   r.dropped,
		Truncated: r.truncated.Load(),
		Long:      r.fetched.Load(),
	}
}

// readDrops adds what the kernel lost since the last reading, which clears its
// counters. The caller holds mu.
func (r *Receiver) readDrops() {
	if s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		r.dropped += uint64(s.Drops)
	}
}

// Close unmaps the ring and closes the socket. Only after the goroutine that
// calls Recv has stopped. Closing twice is harmless.
func (r *Receiver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.readDrops()
	err := r.ring.unmap()
	if r.wake >= 0 {
		unix.Close(r.wake)
	}
	if e := unix.Close(r.fd); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("afpacket: %s: closing: %w", r.device, err)
	}
	return nil
}
