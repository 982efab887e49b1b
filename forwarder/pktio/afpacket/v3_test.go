package afpacket

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// v3 is the least of a TPACKET_V3 receiver, to measure the other choice by.
type v3 struct {
	fd     int
	mem    []byte
	blocks int
	size   int
	at     int
}

// openV3 opens a ring whose blocks are handed over when full or after timeout
// milliseconds.
func openV3(t testing.TB, w *wire, blocks, size, timeout int) *v3 {
	t.Helper()
	r := &v3{blocks: blocks, size: size}
	err := w.b.Do(func() (err error) {
		if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		prog, err := w.filter.Assemble()
		if err != nil {
			return err
		}
		// A receiver without a ring lends its way to set a filter.
		if err := (&Receiver{fd: r.fd}).attach(prog); err != nil {
			return err
		}
		for _, o := range [][2]int{{unix.PACKET_VERSION, unix.TPACKET_V3}, {unix.PACKET_VNET_HDR, 1}, {unix.PACKET_IGNORE_OUTGOING, 1}} {
			if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, o[0], o[1]); err != nil {
				return err
			}
		}
		err = unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size: uint32(size), Block_nr: uint32(blocks),
			Frame_size: 2048, Frame_nr: uint32(blocks * size / 2048), Retire_blk_tov: uint32(timeout),
		})
		if err != nil {
			return err
		}
		if r.mem, err = unix.Mmap(r.fd, 0, blocks*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
			return err
		}
		return unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: w.b.Index("eth0")})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Munmap(r.mem)
		unix.Close(r.fd)
	})
	return r
}

// next waits at most 100 ms for a block, calls frame with each virtio header and
// frame in it, hands it back and returns how many there were.
func (r *v3) next(frame func(buf []byte)) int {
	block := r.mem[r.at*r.size:][:r.size]
	status := (*uint32)(unsafe.Pointer(&block[8]))
	if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
		fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
		unix.Poll(fds, 100)
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			return 0
		}
	}
	n := int(binary.NativeEndian.Uint32(block[12:]))
	off := binary.NativeEndian.Uint32(block[16:])
	for range n {
		h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[off]))
		frame(block[off+uint32(h.Mac)-pktio.HeaderLen : off+uint32(h.Mac)+h.Snaplen])
		off += h.Next_offset
	}
	atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
	r.at = (r.at + 1) % r.blocks
	return n
}

func throughV3(w *wire, t testing.TB) func(<-chan struct{}) error {
	r, s := openV3(t, w, 64, 128<<10, 1), w.sender(t, w.b)
	return func(stop <-chan struct{}) error {
		var tx pktio.Batch
		for {
			tx.N = 0
			r.next(func(buf []byte) {
				mark(buf[pktio.HeaderLen:])
				tx.Add(&pktio.Frame{Buf: buf})
			})
			select {
			case <-stop:
				return nil
			default:
			}
			if err := s.Send(&tx); err != nil {
				return err
			}
		}
	}
}
