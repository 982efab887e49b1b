package afpacket

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// await blocks until the ring has frames, Interrupt was called, the device
// failed or wait milliseconds have passed (negative: for ever).
func (r *Receiver) await(rx *pktio.Batch, wait int) error {
	if wait == 0 {
		return nil
	}
	var end time.Time
	if wait > 0 {
		end = time.Now().Add(time.Duration(wait) * time.Millisecond)
	}
	for {
		var timeout *unix.Timespec
		var ts unix.Timespec
		if wait > 0 {
			left := time.Until(end)
			if left <= 0 {
				return nil
			}
			ts = unix.NsecToTimespec(int64(left))
			timeout = &ts
		}
		r.poll[0].Revents, r.poll[1].Revents = 0, 0
		_, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&r.poll[0])),
			uintptr(len(r.poll)), uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
		if errno != 0 && errno != unix.EINTR && errno != unix.EAGAIN {
			return fmt.Errorf("afpacket: %s: ppoll: %w", r.device, errno)
		}
		woken := false
		if errno == 0 && r.poll[1].Revents != 0 {
			woken = r.drain()
		}
		r.take(rx)
		if rx.N > 0 {
			return nil
		}
		if errno == 0 && r.poll[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
			r.lost()
			if err := r.failed; err != nil {
				r.failed = nil
				return err
			}
		}
		if woken {
			return nil
		}
	}
}

// drain empties the eventfd and reports whether an Interrupt is still to be
// honoured: one that an earlier Recv has seen may leave its mark there.
func (r *Receiver) drain() bool {
	var count [8]byte
	unix.Syscall(unix.SYS_READ, uintptr(r.wake), uintptr(unsafe.Pointer(&count[0])), uintptr(len(count)))
	return r.interrupted.Swap(false)
}

// Interrupt makes the current or next Recv return at once. From any goroutine.
func (r *Receiver) Interrupt() {
	r.interrupted.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	// It fails only when the counter is full, and then Recv is woken anyway.
	unix.Write(r.wake, one[:])
}

// lost takes the error off the socket, so that poll does not return for it
// again, and notes what Recv is to report.
func (r *Receiver) lost() {
	errno, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || r.gone {
		return
	}
	// A socket whose device was removed is bound to number -1.
	if sa, err := unix.Getsockname(r.fd); err == nil {
		if ll, ok := sa.(*unix.SockaddrLinklayer); ok && ll.Ifindex != r.ifindex {
			r.gone = true
			r.failed = fmt.Errorf("afpacket: %s: %w", r.device, pktio.ErrGone)
			return
		}
	}
	if errno != 0 && unix.Errno(errno) != unix.ENETDOWN {
		r.failed = fmt.Errorf("afpacket: %s: %w", r.device, unix.Errno(errno))
		return
	}
	r.failed = fmt.Errorf("afpacket: %s: %w", r.device, pktio.ErrDown)
}
