package afpacket

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// Receiver is one packet socket with its ring. Recv and Release belong to one
// goroutine; all other methods may be called from anywhere.
type Receiver struct {
	device  string
	ifindex int
	fd      int
	wake    int // eventfd of Interrupt
	poll    [2]unix.PollFd
	timeout unix.Timespec
	ring    ring
	long    longBuffers

	head, tail uint32 // running counts of slots: next to read, next to free
	failed     error  // to report by the next Recv that has no frames
	down       bool   // the device went down and no frame has come since
	gone       bool   // the device was removed

	interrupted atomic.Bool
	packets     atomic.Uint64
	bytes       atomic.Uint64
	truncated   atomic.Uint64
	fetched     atomic.Uint64

	mu      sync.Mutex // guards the rest, and fd and wake against Close
	closed  bool
	dropped uint64 // accumulated: the kernel clears its count when it is read
}

// Recv is described at pktio.Receiver. Frames that are in the ring already cost
// no system call, but for those longer than a slot.
func (r *Receiver) Recv(rx *pktio.Batch, wait int) error {
	rx.N = 0
	if r.ring.mem == nil {
		return pktio.ErrClosed
	}
	if r.tail != r.head {
		r.freeSlots()
	}
	if r.interrupted.Load() {
		// Whatever is there is taken along, but nothing is waited for.
		r.interrupted.Store(false)
		wait = 0
	}
	r.take(rx)
	if rx.N > 0 {
		return nil
	}
	if err := r.failed; err != nil {
		r.failed = nil
		return err
	}
	return r.await(rx, wait)
}

// take moves what the ring has into rx, up to a batch.
func (r *Receiver) take(rx *pktio.Batch) {
	var bytes uint64
	r.long.used = 0
	for rx.N < pktio.BatchSize && r.head-r.tail < r.ring.slots {
		status := r.ring.status(r.head)
		if status&unix.TP_STATUS_USER == 0 {
			break
		}
		if status&unix.TP_STATUS_COPY != 0 && r.long.full() {
			break
		}
		slot := r.ring.slot(r.head)
		h := header(slot)
		f := &rx.Frames[rx.N]
		switch {
		case h.Snaplen == h.Len:
			// The virtio header stands right before the frame.
			begin := int(h.Mac) - pktio.HeaderLen
			end := int(h.Mac) + int(h.Snaplen)
			f.Buf = slot[begin:end:end]
		case status&unix.TP_STATUS_COPY != 0:
			f.Buf = r.fetch()
		default:
			f.Buf = nil
		}
		f.Token = r.head
		r.head++
		if f.Buf == nil {
			r.truncated.Add(1)
			continue
		}
		f.Tagged = status&unix.TP_STATUS_VLAN_VALID != 0
		f.TCI = h.Vlan_tci
		bytes += uint64(len(f.Buf) - pktio.HeaderLen)
		rx.N++
	}
	if rx.N > 0 {
		r.packets.Add(uint64(rx.N))
		r.bytes.Add(bytes)
	} else {
		r.freeSlots() // only frames that were lost
	}
}

// Release gives all slots of the last Recv back, in order.
func (r *Receiver) Release(rx *pktio.Batch) {
	rx.N = 0
	if r.ring.mem != nil {
		r.freeSlots()
	}
}

func (r *Receiver) freeSlots() {
	for ; r.tail != r.head; r.tail++ {
		r.ring.free(r.tail)
	}
}
