package afpacket

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// downCheck is how often a receiver whose device went down looks whether it is
// there at all: a socket is told that its device goes down, but not that it is
// removed after that.
const downCheck = 100 * time.Millisecond

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
		left := time.Duration(-1)
		if wait > 0 {
			if left = time.Until(end); left <= 0 {
				return nil
			}
		}
		if r.down && (left < 0 || left > downCheck) {
			left = downCheck
		}
		errno := r.ppoll(left)
		if errno != 0 && errno != unix.EINTR && errno != unix.EAGAIN {
			return fmt.Errorf("afpacket: %s: ppoll: %w", r.device, errno)
		}
		woken := false
		if errno == 0 && r.poll[1].Revents != 0 {
			woken = r.drain()
		}
		r.take(rx)
		if rx.N > 0 {
			r.down = false
			return nil
		}
		if errno == 0 && r.poll[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
			r.lost()
		} else if r.down && r.removed() {
			r.down = false
			r.failed = fmt.Errorf("afpacket: %s: %w", r.device, pktio.ErrGone)
		}
		if err := r.failed; err != nil {
			r.failed = nil
			return err
		}
		if woken {
			return nil
		}
	}
}

// ppoll waits for the socket and the eventfd (negative: for ever) and leaves what
// it saw in r.poll.
func (r *Receiver) ppoll(wait time.Duration) unix.Errno {
	var timeout *unix.Timespec
	if wait >= 0 {
		r.timeout = unix.NsecToTimespec(int64(wait))
		timeout = &r.timeout
	}
	r.poll[0].Revents, r.poll[1].Revents = 0, 0
	_, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&r.poll[0])),
		uintptr(len(r.poll)), uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
	return errno
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
	switch {
	case err != nil || r.gone:
		return
	case r.removed():
		r.failed = fmt.Errorf("afpacket: %s: %w", r.device, pktio.ErrGone)
	case errno != 0 && unix.Errno(errno) != unix.ENETDOWN:
		r.failed = fmt.Errorf("afpacket: %s: %w", r.device, unix.Errno(errno))
	default:
		r.down = true
		r.failed = fmt.Errorf("afpacket: %s: %w", r.device, pktio.ErrDown)
	}
}

// removed reports whether the device is no more: its sockets are then bound to
// number -1.
func (r *Receiver) removed() bool {
	sa, err := unix.Getsockname(r.fd)
	if err != nil {
		return false
	}
	ll, ok := sa.(*unix.SockaddrLinklayer)
	r.gone = ok && ll.Ifindex != r.ifindex
	return r.gone
}
