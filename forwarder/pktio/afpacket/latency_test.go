package afpacket

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// pingPong sends one frame at a time from a, lets answer send it back from b, and
// returns the median time until a plain socket at a has it.
func pingPong(t testing.TB, w *wire, rounds int, answer func(stop <-chan struct{}) error) time.Duration {
	t.Helper()
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- answer(stop) }()
	s := w.sender(t, w.a)
	ear := plainSocket(t, w.a)
	buf := make([]byte, 2048)
	// A second's patience in the socket itself, so that a lost frame fails.
	if err := unix.SetsockoptTimeval(ear, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience / 1000}); err != nil {
		t.Fatal(err)
	}
	times := make([]time.Duration, rounds)
	for i := range times {
		begin := time.Now()
		send(t, s, w.frame(60, 1, uint64(i)))
		for {
			n, _, err := unix.Recvfrom(ear, buf, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				t.Fatalf("round %d: no answer: %v", i, err)
			}
			if f := (pktio.Frame{Buf: append(make([]byte, pktio.HeaderLen), buf[:n]...)}); n == 60 && f.Eth()[0] == 0x06 && numberOf(&f) == uint64(i) {
				break
			}
		}
		times[i] = time.Since(begin)
	}
	close(stop)
	send(t, s, w.frame(60, 1, 0)) // wakes it
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	slices.Sort(times)
	return times[rounds/2]
}

// mark makes an answer known from a question by its destination address.
func mark(eth []byte) { copy(eth, []byte{0x06, 0, 0, 0, 0, 1}) }

func plainSocket(t testing.TB, n *netlab.Node) int {
	t.Helper()
	var fd int
	err := n.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: n.Index("eth0")})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func throughRing(w *wire, t testing.TB) func(<-chan struct{}) error {
	r, s := w.receivers(t, Config{}, 1)[0], w.sender(t, w.b)
	return func(stop <-chan struct{}) error {
		var b pktio.Batch
		for {
			if err := r.Recv(&b, -1); err != nil {
				return err
			}
			select {
			case <-stop:
				return nil
			default:
			}
			for i := range b.Frames[:b.N] {
				mark(b.Frames[i].Eth())
			}
			err := s.Send(&b)
			r.Release(&b)
			if err != nil {
				return err
			}
		}
	}
}

func throughPlainSocket(w *wire, t testing.TB) func(<-chan struct{}) error {
	fd := plainSocket(t, w.b)
	index := w.b.Index("eth0")
	return func(stop <-chan struct{}) error {
		buf := make([]byte, 2048)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			select {
			case <-stop:
				return nil
			default:
			}
			if [6]byte(buf) != w.dst {
				continue
			}
			mark(buf)
			if err := unix.Sendto(fd, buf[:n], 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
				return err
			}
		}
	}
}

// One frame in flight does not wait in the ring: it must come back at all within
// the patience, and the times beside a plain socket's are logged.
func TestOneFrameInFlight(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	w := newWire(t)
	plain := pingPong(t, w, rounds, throughPlainSocket(w, t))
	w = newWire(t)
	ring := pingPong(t, w, rounds, throughRing(w, t))
	t.Logf("median round trip: ring %v, plain socket %v, ratio %.2f", ring, plain, float64(ring)/float64(plain))
}
