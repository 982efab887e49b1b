package afpacket

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// Send is described at pktio.Sender. Each frame that is refused costs a system
// call. A device that is down loses the whole batch, counted under Errors; one
// that is up without a carrier counts under Busy, as a full queue does.
func (s *Sender) Send(tx *pktio.Batch) error {
	if s.closed.Load() {
		return pktio.ErrClosed
	}
	frames := tx.Frames[:tx.N]
	for i := range frames {
		b := frames[i].Buf
		s.iovs[i].Base = unsafe.SliceData(b)
		s.iovs[i].SetLen(len(b))
	}
	err := s.sendAll(frames)
	for i := range frames {
		s.iovs[i].Base = nil // keep nothing
	}
	return err
}

func (s *Sender) sendAll(frames []pktio.Frame) error {
	for i := 0; i < len(frames); {
		fd, n := s.route(frames[i:])
		done, errno := sendmmsg(fd, &s.msgs[i], n)
		if errno == 0 {
			var bytes uint64
			for _, f := range frames[i : i+done] {
				bytes += uint64(len(f.Buf) - pktio.HeaderLen)
			}
			s.packets.Add(uint64(done))
			s.bytes.Add(bytes)
			i += done
			continue
		}
		// The error is that of the first message; those before it were counted.
		switch errno {
		case unix.EINTR:
			continue
		case unix.ENOBUFS, unix.EAGAIN:
			if fd != s.queued && isSuper(&frames[i]) {
				s.cutting = true // and once more, the long way
				continue
			}
			s.busy.Add(1)
		case unix.EMSGSIZE:
			s.tooLong.Add(1)
		case unix.ENETDOWN:
			s.errors.Add(uint64(len(frames) - i))
			return nil
		case unix.ENXIO, unix.ENODEV:
			s.errors.Add(uint64(len(frames) - i))
			return fmt.Errorf("afpacket: %s: %w", s.device, pktio.ErrGone)
		default:
			s.errors.Add(1)
		}
		i++
	}
	return nil
}

// route tells which socket the next frames go to, and how many of them.
func (s *Sender) route(frames []pktio.Frame) (fd, n int) {
	if !s.cutting || s.fd == s.queued {
		return s.fd, len(frames)
	}
	super := isSuper(&frames[0])
	for n = 1; n < len(frames) && isSuper(&frames[n]) == super; n++ {
	}
	if super {
		return s.queued, n
	}
	return s.fd, n
}

// isSuper reports whether the virtio header names a segmentation type.
func isSuper(f *pktio.Frame) bool { return len(f.Buf) > 1 && f.Buf[1] != 0 }

func sendmmsg(fd int, msgs *unix.Mmsghdr, n int) (int, unix.Errno) {
	done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(msgs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(done), errno
}
