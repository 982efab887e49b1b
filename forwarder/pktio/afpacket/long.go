package afpacket

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// longBuffers holds the frames of one batch that are longer than a slot.
//
// The kernel puts a clone of such a frame into the socket's queue, in the order
// of the slots, and marks the slot TP_STATUS_COPY. When the queue is over its
// limit there is no clone and no mark, and only the beginning is in the slot.
type longBuffers struct {
	mem  []byte
	size int
	used int
}

// newLongBuffers reserves the buffers. Pages that no frame ever touches cost no
// memory.
func newLongBuffers(n, size int) longBuffers {
	return longBuffers{mem: make([]byte, n*size), size: size}
}

func (l *longBuffers) full() bool { return (l.used+1)*l.size > len(l.mem) }

func (l *longBuffers) next() []byte {
	b := l.mem[l.used*l.size:][:l.size:l.size]
	l.used++
	return b
}

// fetch takes the oldest frame out of the socket's queue. It returns nil when
// the frame cannot be had whole.
func (r *Receiver) fetch() []byte {
	buf := r.long.next()
	for range 8 {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(r.fd),
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.ENETDOWN:
			// The error of the device, given to whoever asks first; the frame is
			// still there.
			r.lost()
			continue
		case errno != 0 || int(n) > len(buf) || n < pktio.HeaderLen+14:
			r.long.used--
			return nil
		}
		r.fetched.Add(1)
		return buf[:n:n]
	}
	r.long.used--
	return nil
}
