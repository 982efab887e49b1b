package bench

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

const frameLen = 60 // the shortest that Ethernet has, checksum not counted

// source makes batches of TCP segments to the VIP. Flow i comes from the i-th
// address of 10.0.0.0/8; the order jumps about so that no cache can foresee it.
type source struct {
	flows, stride, at uint32
	batch             pktio.Batch
	sum               uint32 // of the IP header without the source address
}

// newSource makes a source of so many flows, at most 1<<24, of segments with the
// given flags to a MAC address.
func newSource(flows uint32, flags uint8, to [6]byte) *source {
	s := &source{flows: flows, stride: stride(flows)}
	for range pktio.BatchSize {
		buf := make([]byte, pktio.HeaderLen+frameLen)
		eth := buf[pktio.HeaderLen:]
		copy(eth, to[:])
		copy(eth[6:], []byte{0x02, 0x53, 0x56, 0, 0, 0xaa})
		binary.BigEndian.PutUint16(eth[12:], frame.EtherIPv4)
		ip := eth[14:]
		copy(ip, []byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, frame.ProtoTCP})
		copy(ip[16:], vip.AsSlice())
		for i := 0; i < 20; i += 2 {
			s.sum += uint32(binary.BigEndian.Uint16(ip[i:]))
		}
		binary.BigEndian.PutUint16(ip[20:], 40000)
		binary.BigEndian.PutUint16(ip[22:], 80)
		ip[32], ip[33] = 5<<4, flags
		s.batch.Add(&pktio.Frame{Buf: buf})
		if s.batch.N < pktio.BatchSize {
			s.sum = 0
		}
	}
	return s
}

// stride is a step that comes to every one of n flows before it returns.
func stride(n uint32) uint32 {
	s := uint32(float64(n)*0.618) | 1
	for gcd(s, n) != 1 {
		s++
	}
	return s
}

func gcd(a, b uint32) uint32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// next fills the batch with the next flows.
func (s *source) next() *pktio.Batch {
	for i := range s.batch.Frames {
		address(s.batch.Frames[i].Eth(), s.at, s.sum)
		if s.at += s.stride; s.at >= s.flows {
			s.at -= s.flows
		}
	}
	return &s.batch
}

// send sends the next n flows, in whole batches.
func (s *source) send(tx pktio.Sender, n int) error {
	for ; n > 0; n -= pktio.BatchSize {
		if err := tx.Send(s.next()); err != nil {
			return err
		}
	}
	return nil
}

// address writes flow number n into a frame.
func address(eth []byte, n, sum uint32) {
	src := 10<<24 | n
	binary.BigEndian.PutUint32(eth[26:], src)
	sum += src>>16 + src&0xffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(eth[24:], ^uint16(sum))
}

// flowKey is the key of flow number n.
func flowKey(n uint32) frame.Key {
	src := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	return frame.MakeKey(netip.AddrPortFrom(src, 40000), netip.AddrPortFrom(vip, 80), frame.ProtoTCP)
}

// sender puts frames on the client's wire; it closes with the test.
func (r *road) sender(t testing.TB, device string) (tx *afpacket.Sender) {
	t.Helper()
	err := r.client.Do(func() (err error) {
		tx, err = afpacket.NewSender(afpacket.SenderConfig{Device: device})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tx.Close(); err != nil {
			t.Error(err)
		}
	})
	return tx
}

// generate sends as fast as it can until the test ends or stop is called.
func (r *road) generate(t testing.TB, s *source) (stop func()) {
	t.Helper()
	tx := r.sender(t, "eth0")
	stop = launch(t, cpuOfGenerator, func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := s.send(tx, pktio.BatchSize); err != nil {
				return err
			}
		}
		return nil
	})
	return stop
}
