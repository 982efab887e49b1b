package afpacket

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// drain receives until want frames came from all receivers together and the
// rings are empty, and tells who got which.
func drain(t *testing.T, rs []*Receiver, want int, got func(receiver int, f *pktio.Frame)) {
	t.Helper()
	var rx pktio.Batch
	count := 0
	end := time.Now().Add(patience * time.Millisecond)
	for idle := false; count < want || !idle; {
		idle = true
		for i, r := range rs {
			if err := r.Recv(&rx, 1); err != nil {
				t.Fatal(err)
			}
			for j := range rx.Frames[:rx.N] {
				got(i, &rx.Frames[j])
			}
			count += rx.N
			idle = idle && rx.N == 0
			r.Release(&rx)
		}
		if time.Now().After(end) {
			t.Fatalf("%d frames of %d came", count, want)
		}
	}
	if count > want {
		t.Fatalf("%d frames came, %d were sent", count, want)
	}
}

// Two receivers see each frame once, and each flow at one of them.
func TestFanoutGivesEachFrameOnce(t *testing.T) {
	w := newWire(t)
	rs, s := w.receivers(t, Config{}, 2), w.sender(t, w.a)
	const flows, perFlow = 200, 50
	seen := make([]int, flows*perFlow)
	home := map[uint64]int{}
	share := [2]int{}
	for round := range perFlow {
		for flow := range flows {
			send(t, s, w.frame(60+round, uint16(flow), uint64(round*flows+flow)))
		}
		drain(t, rs, flows, func(i int, f *pktio.Frame) {
			n := numberOf(f)
			seen[n]++
			share[i]++
			flow := n % flows
			if h, ok := home[flow]; ok && h != i {
				t.Errorf("flow %d came to receiver %d and %d", flow, h, i)
			}
			home[flow] = i
		})
	}
	for n, times := range seen {
		if times != 1 {
			t.Fatalf("frame %d came %d times", n, times)
		}
	}
	if share[0] == 0 || share[1] == 0 {
		t.Errorf("shares %v: the hash does not spread", share)
	}
	t.Logf("shares %v", share)
}

// All fragments of a datagram come to the same receiver, as they are.
func TestFanoutKeepsFragments(t *testing.T) {
	w := newWire(t)
	rs, s := w.receivers(t, Config{}, 2), w.sender(t, w.a)
	home := map[[4]byte]int{}
	for flow := range uint16(100) {
		for part := range 3 {
			b := w.frame(1000, flow, uint64(flow))
			ip := b[pktio.HeaderLen+14:]
			binary.BigEndian.PutUint16(ip[4:], flow+1) // identification
			off := uint16(part * 966 / 8)
			if part < 2 {
				off |= 0x2000 // more fragments
			}
			binary.BigEndian.PutUint16(ip[6:], off)
			ip[10], ip[11] = 0, 0
			binary.BigEndian.PutUint16(ip[10:], ^sum(ip[:20]))
			send(t, s, b)
		}
	}
	drain(t, rs, 300, func(i int, f *pktio.Frame) {
		if len(f.Eth()) != 1000 {
			t.Errorf("a fragment of %d bytes: reassembled", len(f.Eth()))
		}
		src := [4]byte(f.Eth()[26:])
		if h, ok := home[src]; ok && h != i {
			t.Errorf("fragments from %v came to receiver %d and %d", src, h, i)
		}
		home[src] = i
	})
}

// What the own host sends does not come back, in a group or alone, though it
// would pass the filter.
func TestOutgoingFramesAreIgnored(t *testing.T) {
	for _, n := range []int{1, 2} {
		w := newWire(t)
		rs := w.receivers(t, Config{}, n)
		var s *Sender
		// Through the queueing discipline, where packet sockets listen.
		err := w.b.Do(func() (err error) { s, err = NewSender(SenderConfig{Device: "eth0", Qdisc: true}); return })
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		capture := w.b.Capture("eth0")
		for i := range 500 {
			send(t, s, w.frame(60, uint16(i), uint64(i)))
		}
		far := w.sender(t, w.a)
		for i := range 100 {
			send(t, far, w.frame(60, uint16(i), uint64(1000+i)))
		}
		drain(t, rs, 100, func(_ int, f *pktio.Frame) {
			if numberOf(f) < 1000 {
				t.Fatalf("%d receivers: the own frame %d came back", n, numberOf(f))
			}
		})
		// A plain socket must have seen them, or the test shows nothing.
		netlab.Eventually(t, 5*time.Second, func() bool {
			return len(capture.Select(func(f netlab.Frame) bool { return f.Outgoing && len(f.Data) == 60 })) == 500
		}, "the own frames were not there to be seen")
		capture.Stop()
	}
}
