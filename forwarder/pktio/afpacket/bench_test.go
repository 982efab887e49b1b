package afpacket

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// flood sends 60-byte frames in full batches until it is stopped, from a thread
// of its own.
func flood(t testing.TB, w *wire) (sent func() uint64, stop func()) {
	s := w.sender(t, w.a)
	var halt atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var tx pktio.Batch
		for i := range pktio.BatchSize {
			tx.Add(&pktio.Frame{Buf: w.frame(60, uint16(i), uint64(i))})
		}
		for !halt.Load() {
			if err := s.Send(&tx); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	return func() uint64 { return s.Stats().Packets }, func() { halt.Store(true); <-done }
}

// perSecond reports what a counter did in the time of the benchmark.
func perSecond(b *testing.B, n uint64, name string) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), name)
}

// ringSizes are what BenchmarkReceive and BenchmarkReflect compare.
var ringSizes = []Config{
	{Slots: 512, SlotSize: 2048},
	{Slots: 1024, SlotSize: 2048},
	{Slots: 2048, SlotSize: 2048},
	{Slots: 4096, SlotSize: 2048},
	{Slots: 16384, SlotSize: 2048},
	{Slots: 1024, SlotSize: 8192},
	{Slots: 256, SlotSize: 128 << 10, LongSize: 128 << 10},
}

func (c Config) String() string { return fmt.Sprintf("%dx%d", c.Slots, c.SlotSize) }

// BenchmarkReceive: frames per second that one receiver takes while another
// thread sends all it can.
func BenchmarkReceive(b *testing.B) {
	for _, cfg := range ringSizes {
		b.Run(cfg.String(), func(b *testing.B) {
			w := newWire(b)
			r := w.receivers(b, cfg, 1)[0]
			_, stop := flood(b, w)
			defer stop()
			var rx pktio.Batch
			first := r.Stats()
			b.ResetTimer()
			for n := 0; n < b.N; n += rx.N {
				if err := r.Recv(&rx, patience); err != nil || rx.N == 0 {
					b.Fatalf("%d frames, %v", rx.N, err)
				}
				n := rx.N
				r.Release(&rx)
				rx.N = n
			}
			b.StopTimer()
			st := r.Stats()
			perSecond(b, st.Packets-first.Packets, "frames/s")
			perSecond(b, st.Dropped-first.Dropped, "lost/s")
		})
	}
}

// BenchmarkReceiveV3 is the same with a TPACKET_V3 ring.
func BenchmarkReceiveV3(b *testing.B) {
	w := newWire(b)
	r := openV3(b, w, 64, 128<<10, 1)
	_, stop := flood(b, w)
	defer stop()
	b.ResetTimer()
	n := 0
	for n < b.N {
		n += r.next(func([]byte) {})
	}
	b.StopTimer()
	perSecond(b, uint64(n), "frames/s")
}

// BenchmarkSend: frames per second that one sender gets rid of, in full batches
// and one by one.
func BenchmarkSend(b *testing.B) {
	for _, batch := range []int{1, 8, pktio.BatchSize} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			w := newWire(b)
			s := w.sender(b, w.a)
			var tx pktio.Batch
			for i := range batch {
				tx.Add(&pktio.Frame{Buf: w.frame(60, uint16(i), 1)})
			}
			b.ResetTimer()
			for n := 0; n < b.N; n += batch {
				if err := s.Send(&tx); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			perSecond(b, s.Stats().Packets, "frames/s")
		})
	}
}

// BenchmarkReflect: frames per second that a reflector with one worker forwards,
// sent by another thread.
func BenchmarkReflect(b *testing.B) {
	for _, cfg := range ringSizes {
		b.Run(cfg.String(), func(b *testing.B) {
			w := newWire(b)
			re := reflect(b, w.b, cfg, 1, w.filter, "eth0", "eth0", [6]byte{2, 0, 0, 0, 0, 99})
			sent, stop := flood(b, w)
			defer stop()
			from, origin := re.s.Stats().Packets, sent()
			b.ResetTimer()
			for end := from + uint64(b.N); re.s.Stats().Packets < end; {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			perSecond(b, re.s.Stats().Packets-from, "frames/s")
			perSecond(b, sent()-origin, "offered/s")
			stop()
			re.stop()
		})
	}
}

// BenchmarkRoundTrip: one frame in flight, through a ring of each version and
// through a plain socket.
func BenchmarkRoundTrip(b *testing.B) {
	for _, way := range []struct {
		name string
		open func(*wire, testing.TB) func(<-chan struct{}) error
	}{{"V2", throughRing}, {"V3", throughV3}, {"plain", throughPlainSocket}} {
		b.Run(way.name, func(b *testing.B) {
			w := newWire(b)
			answer := way.open(w, b)
			b.ResetTimer()
			median := pingPong(b, w, b.N, answer)
			b.ReportMetric(float64(median.Nanoseconds()), "ns-median")
		})
	}
}

// BenchmarkUpload: bytes per second of a TCP upload through a reflector, with
// frames longer than a slot fetched from the queue, and with slots that hold
// them.
func BenchmarkUpload(b *testing.B) {
	for _, cfg := range []Config{
		{},
		{LongBuffers: 8},
		{LongBuffers: 64},
		{QueueBytes: 212992},
		{Slots: 256, SlotSize: 128 << 10, LongSize: 128 << 10},
	} {
		b.Run(fmt.Sprintf("slots=%v/buffers=%d/queue=%d", cfg, cfg.LongBuffers, cfg.QueueBytes), func(b *testing.B) {
			f := newFarm(b, cfg, 1)
			const size = 64 << 20
			b.SetBytes(size)
			for b.Loop() {
				f.upload(b, vip4, size)
			}
			st := f.re.rs[0].Stats()
			b.ReportMetric(float64(st.Truncated+st.Dropped), "lost")
			b.ReportMetric(float64(st.Long)/float64(st.Packets), "long/frame")
		})
	}
}
