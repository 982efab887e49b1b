// Package pktiotest is the conformance suite of packet backends: what each of
// them must do, whatever it is made of.
package pktiotest

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// Rig is a wire with the backend's sender at the near end and its receiver at
// the far end. Both are closed by the suite.
type Rig struct {
	Sender   pktio.Sender
	Receiver pktio.Receiver
	// MAC is the Ethernet destination that the receiver lets in. It lets in
	// frames to Addr.
	MAC [6]byte
	// Slots is the number of frames that the receiver holds before it loses some.
	Slots int
	// MTU is the longest IP packet that the sender takes if it is no super-frame;
	// 0 when there is no limit.
	MTU int
}

// Addr is where all frames of the suite go.
var Addr = netip.AddrFrom4([4]byte{10, 9, 0, 1})

// Options asks for a rig.
type Options struct {
	// Small asks for a ring that overflows soon: at most 256 slots, and room for
	// no more than a few super-frames.
	Small bool
}

// Run runs the suite. open makes a fresh rig each time it is called.
func Run(t *testing.T, open func(t testing.TB, o Options) Rig) {
	for _, c := range []struct {
		name string
		o    Options
		test func(t *testing.T, r *rig)
	}{
		{"content and order", Options{}, testContent},
		{"frames may be changed in place", Options{}, testInPlace},
		{"batch limits", Options{}, testBatchLimits},
		{"slots are used again", Options{Small: true}, testReuse},
		{"a lease lasts until Release", Options{Small: true}, testLease},
		{"overflow is counted", Options{Small: true}, testOverflow},
		{"super-frames pass whole", Options{}, testSuperFrames},
		{"truncation is counted", Options{Small: true}, testTruncation},
		{"too long for the MTU", Options{}, testTooLong},
		{"wait 0 only looks", Options{}, testLook},
		{"wait ends", Options{}, testWaitEnds},
		{"a frame ends the wait", Options{}, testFrameWakes},
		{"interrupt", Options{}, testInterrupt},
		{"interrupts from many goroutines", Options{}, testManyInterrupts},
		{"statistics never go backwards", Options{Small: true}, testStatistics},
		{"no allocation", Options{Small: true}, testAllocations},
		{"close", Options{}, testClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rig{Rig: open(t, c.o)}
			t.Cleanup(func() {
				r.Sender.Close()
				r.Receiver.Close()
			})
			c.test(t, r)
		})
	}
}

// rig adds to a Rig what the tests share.
type rig struct {
	Rig
	rx pktio.Batch
	tx pktio.Batch
}

// patience is how long in milliseconds a test waits for what must come.
const patience = 5000

// frame makes a UDP frame of size bytes that bears a number.
func (r *rig) frame(size int, number uint64) []byte {
	buf := make([]byte, pktio.HeaderLen+size)
	b := buf[pktio.HeaderLen:]
	copy(b, r.MAC[:])
	copy(b[6:], []byte{2, 0, 0, 0, 0, 99})
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, 8, 0, 1})
	copy(ip[16:], Addr.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip[:20]))
	binary.BigEndian.PutUint16(ip[20:], 1024)
	binary.BigEndian.PutUint16(ip[22:], 80)
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
	fill(ip[28:], number)
	return buf
}

// superFrame makes a TCP super-frame of size bytes with a partial checksum,
// which a device would cut into segments of 1448 bytes.
func (r *rig) superFrame(size int, number uint64) []byte {
	buf := r.frame(size, number)
	h, b := buf[:pktio.HeaderLen], buf[pktio.HeaderLen:]
	h[0], h[1] = 1, 1 // needs checksum; TCP over IPv4
	binary.NativeEndian.PutUint16(h[2:], 14+20+20)
	binary.NativeEndian.PutUint16(h[4:], 1448)
	binary.NativeEndian.PutUint16(h[6:], 14+20)
	binary.NativeEndian.PutUint16(h[8:], 16)
	ip := b[14:]
	ip[9] = 6
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip[:20]))
	tcp := ip[20:]
	clear(tcp[4:20])
	tcp[12], tcp[13] = 5<<4, 0x10
	var pseudo [12]byte
	copy(pseudo[:], ip[12:20])
	pseudo[9] = 6
	binary.BigEndian.PutUint16(pseudo[10:], uint16(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], sum(pseudo[:]))
	fill(tcp[20:], number)
	return buf
}

// fill writes the number and, as far as there is room, bytes that follow from it.
func fill(b []byte, number uint64) {
	binary.BigEndian.PutUint64(b, number)
	x := number
	for i := 8; i < len(b); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
}

// number reads what fill wrote into a frame or super-frame.
func number(f *pktio.Frame) uint64 {
	off := 14 + 20 + 8
	if f.Eth()[14+9] == 6 {
		off = 14 + 20 + 20
	}
	return binary.BigEndian.Uint64(f.Eth()[off:])
}

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

// send sends the frames in full batches.
func (r *rig) send(t testing.TB, frames ...[]byte) {
	t.Helper()
	for len(frames) > 0 {
		r.tx.N = 0
		for r.tx.N < pktio.BatchSize && len(frames) > 0 {
			r.tx.Add(&pktio.Frame{Buf: frames[0]})
			frames = frames[1:]
		}
		if err := r.Sender.Send(&r.tx); err != nil {
			t.Fatal(err)
		}
	}
}

// recv receives one batch that has to come.
func (r *rig) recv(t testing.TB) []pktio.Frame {
	t.Helper()
	if err := r.Receiver.Recv(&r.rx, patience); err != nil {
		t.Fatal(err)
	}
	if r.rx.N == 0 {
		t.Fatalf("nothing came: %+v, %+v", r.Receiver.Stats(), r.Sender.Stats())
	}
	return r.rx.Frames[:r.rx.N]
}

// rest receives all that was sent and not lost, and returns its numbers. A frame
// may be on its way still when Send returns, so the counters say when all is
// accounted for.
func (r *rig) rest(t testing.TB) (numbers []uint64) {
	t.Helper()
	end := time.Now().Add(patience * time.Millisecond)
	for {
		if err := r.Receiver.Recv(&r.rx, 1); err != nil {
			t.Fatal(err)
		}
		if r.rx.N == 0 {
			st := r.Receiver.Stats()
			if st.Packets+st.Dropped+st.Truncated == r.Sender.Stats().Packets {
				return numbers
			}
			if time.Now().After(end) {
				t.Fatalf("frames are missing and not counted: %+v, %+v", st, r.Sender.Stats())
			}
		}
		for i := range r.rx.Frames[:r.rx.N] {
			numbers = append(numbers, number(&r.rx.Frames[i]))
		}
		r.Receiver.Release(&r.rx)
	}
}

// settle waits until the receiver has either lost or holds all that was sent.
func (r *rig) settle(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(patience * time.Millisecond); ; time.Sleep(time.Millisecond) {
		st := r.Receiver.Stats()
		if st.Packets+st.Dropped+st.Truncated+uint64(r.Slots) >= r.Sender.Stats().Packets {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("frames are missing and not counted: %+v, %+v", st, r.Sender.Stats())
		}
	}
}
