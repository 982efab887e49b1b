package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkWorkers sends as fast as the client can to one and to two workers in
// turn. The client needs a processor of its own, so on two processors the second
// worker can only take time from it.
func BenchmarkWorkers(b *testing.B) {
	const flows, rounds = 10_000, 21
	r := newRoad(b)
	f := r.newFarm(b, "wlc", 1_000_000, 25, nobody)
	f.establish(b, r, flows)
	var turns [3][]turn
	var queues [3][]*queue
	for n := 1; n <= 2; n++ {
		queues[n] = r.open(b, afpacket.Config{}, n)
		for i, q := range queues[n] {
			if err := q.rx.SetFilter(pktio.Filter{}); err != nil {
				b.Fatal(err)
			}
			turns[n] = append(turns[n], f.worker(q, i, n).Run)
		}
	}
	r.generate(b, newSource(flows, frame.ACK, r.in))
	var rate [3][]float64
	b.ResetTimer()
	for range rounds {
		for n := 1; n <= 2; n++ {
			rate[n] = append(rate[n], r.window(b, queues[n], turns[n]))
		}
	}
	for n := 1; n <= 2; n++ {
		slices.Sort(rate[n])
		b.ReportMetric(median(rate[n]), fmt.Sprintf("pkts/s-%d", n))
		b.Logf("%d workers: %s packets/s", n, span(rate[n]))
	}
	b.ReportMetric(median(rate[2])/median(rate[1]), "ratio")
	b.ReportMetric(0, "ns/op")
}

// window returns the packets a second that reach the server while the turns run.
func (r *road) window(t testing.TB, queues []*queue, turns []turn) float64 {
	t.Helper()
	filter := func(f pktio.Filter) {
		for _, q := range queues {
			if err := q.rx.SetFilter(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	filter(r.filter)
	stop := launch(t, cpuAny, turns...)
	r.flowing(t)
	begin, n := time.Now(), r.delivered()
	time.Sleep(200 * time.Millisecond)
	rate := float64(r.delivered()-n) / time.Since(begin).Seconds()
	stop()
	filter(pktio.Filter{})
	return rate
}
