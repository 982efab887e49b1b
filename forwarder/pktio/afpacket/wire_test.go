package afpacket

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

var (
	vip4 = netip.MustParseAddr("10.9.0.1")
	vip6 = netip.MustParseAddr("2001:db8:9::1")
)

// wire is two nodes on a cable: a sends, b receives.
type wire struct {
	a, b   *netlab.Node
	filter pktio.Filter
	dst    [6]byte // the MAC address of b
}

func newWire(t testing.TB) *wire {
	t.Helper()
	lab := netlab.New(t)
	w := &wire{a: lab.Node("a"), b: lab.Node("b")}
	lab.Link(w.a, "eth0", w.b, "eth0")
	w.dst = [6]byte(w.b.MAC("eth0"))
	w.filter = pktio.Filter{MACs: [][6]byte{w.dst}, Addrs: []netip.Addr{vip4, vip6}}
	return w
}

// receivers opens n receivers at b, with the wire's filter set.
func (w *wire) receivers(t testing.TB, cfg Config, n int) []*Receiver {
	t.Helper()
	cfg.Device = "eth0"
	var rs []*Receiver
	if err := w.b.Do(func() (err error) { rs, err = NewReceivers(cfg, n); return }); err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := r.SetFilter(w.filter); err != nil {
			t.Fatal(err)
		}
	}
	return rs
}

func (w *wire) sender(t testing.TB, n *netlab.Node) *Sender {
	t.Helper()
	var s *Sender
	if err := n.Do(func() (err error) { s, err = NewSender(SenderConfig{Device: "eth0"}); return }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// frame makes a UDP frame of size bytes to the VIP, with a virtio header before
// it. The flow chooses the source address and port, the number stands in the
// payload and seeds the rest of it.
func (w *wire) frame(size int, flow uint16, number uint64) []byte {
	return makeFrame(w.dst, size, flow, number)
}

func makeFrame(mac [6]byte, size int, flow uint16, number uint64) []byte {
	buf := make([]byte, pktio.HeaderLen+size)
	b := buf[pktio.HeaderLen:]
	copy(b, mac[:])
	copy(b[6:], []byte{2, 0, 0, 0, 0, 99})
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(min(size-14, 65535)))
	copy(ip[12:], []byte{10, 8, byte(flow >> 8), byte(flow)})
	copy(ip[16:], vip4.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip[:20]))
	binary.BigEndian.PutUint16(ip[20:], 1024+flow)
	binary.BigEndian.PutUint16(ip[22:], 80)
	binary.BigEndian.PutUint16(ip[24:], uint16(min(size-34, 65535)))
	binary.BigEndian.PutUint64(ip[28:], number)
	x := number
	for i := 36; i < len(ip); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		ip[i] = byte(x >> 56)
	}
	return buf
}

// numberOf reads the number that frame put in.
func numberOf(f *pktio.Frame) uint64 { return binary.BigEndian.Uint64(f.Eth()[42:]) }

// sum is the internet checksum's one's complement sum.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// send sends the frames in batches.
func send(t testing.TB, s pktio.Sender, frames ...[]byte) {
	t.Helper()
	var tx pktio.Batch
	for len(frames) > 0 {
		tx.N = 0
		for len(frames) > 0 && tx.N < pktio.BatchSize {
			tx.Add(&pktio.Frame{Buf: frames[0]})
			frames = frames[1:]
		}
		if err := s.Send(&tx); err != nil {
			t.Fatal(err)
		}
	}
}

// patience is how long a test waits for what must come, in milliseconds.
const patience = 5000

// frameTo makes a frame to another MAC address; it bears the number 77.
func (w *wire) frameTo(mac [6]byte, size int) []byte {
	return makeFrame(mac, size, 1, 77)
}
