package bench

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkQuiet sends single packets over an otherwise quiet network and takes
// the time until the server's packet socket has them: over one cable, through a
// reflector, through a director.
func BenchmarkQuiet(b *testing.B) {
	r := newRoad(b)
	f := r.newFarm(b, "wlc", 1_000_000, 25, r.server0)
	q := r.open(b, afpacket.Config{}, 1)[0]
	ways := []*way{
		{name: "cable", device: "eth1", to: [6]byte(r.server.MAC("eth1"))},
		{name: "reflector", device: "eth0", to: r.in, f: r.reflector(q, r.server0)},
		{name: "director", device: "eth0", to: r.in, f: f.worker(q, 0, 1).Run},
	}
	heard := map[string]*afpacket.Receiver{"eth0": r.listen(b, "eth0"), "eth1": r.listen(b, "eth1")}
	for _, w := range ways {
		w.tx, w.rx = r.sender(b, w.device), heard[w.device]
		w.source = newSource(1, frame.ACK, w.to)
	}
	const rounds, pings = 11, 200
	b.ResetTimer()
	for range rounds {
		for _, w := range ways {
			stop := func() {}
			if w.f != nil {
				stop = launch(b, cpuOfForwarder, w.f)
			}
			if err := <-spawn(cpuOfGenerator, func() error { return w.ping(pings) }); err != nil {
				b.Fatal(err)
			}
			stop()
		}
	}
	for _, w := range ways {
		slices.Sort(w.took)
		b.ReportMetric(quantile(w.took, 0.5), w.name+"-p50-us")
		b.ReportMetric(quantile(w.took, 0.99), w.name+"-p99-us")
	}
	b.ReportMetric(0, "ns/op")
}

// way is one way from the client to the server.
type way struct {
	name   string
	device string // of the client
	to     [6]byte
	f      turn // runs meanwhile; nil: nothing
	tx     *afpacket.Sender
	rx     *afpacket.Receiver
	source *source
	took   []float64 // µs
}

// listen opens a packet socket at the server; it closes with the test.
func (r *road) listen(t testing.TB, device string) *afpacket.Receiver {
	t.Helper()
	var list []*afpacket.Receiver
	err := r.server.Do(func() (err error) {
		list, err = afpacket.NewReceivers(afpacket.Config{Device: device, Slots: 256}, 1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := list[0].Close(); err != nil {
			t.Error(err)
		}
	})
	mac := [6]byte(r.server.MAC(device))
	if err := list[0].SetFilter(pktio.Filter{MACs: [][6]byte{mac}, Addrs: []netip.Addr{vip}}); err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// ping sends one packet after the other, with a rest between them so that whoever
// forwards has gone to sleep.
func (w *way) ping(n int) error {
	var rx, one pktio.Batch
	for range n {
		time.Sleep(time.Millisecond)
		one.N = 0
		one.Add(&w.source.next().Frames[0])
		begin := time.Now()
		if err := w.tx.Send(&one); err != nil {
			return err
		}
		if err := w.rx.Recv(&rx, 2000); err != nil {
			return err
		}
		if rx.N != 1 {
			return fmt.Errorf("%s: %d packets came for one that was sent", w.name, rx.N)
		}
		w.took = append(w.took, float64(time.Since(begin).Nanoseconds())/1000)
		w.rx.Release(&rx)
	}
	return nil
}
