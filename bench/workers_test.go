package bench

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkWorkers has one worker and two workers forward in turn, on at most two
// processors. full: they empty rings that were filled before and have the
// processors for themselves. live: the client sends all the time as fast as it
// can, and needs a processor for that.
func BenchmarkWorkers(b *testing.B) {
	const flows, rounds = 10_000, 41
	for _, name := range []string{"full", "live"} {
		b.Run(name, func(b *testing.B) {
			r := newRoad(b)
			s, tx := newSource(flows, frame.ACK, r.in), r.sender(b, "eth0")
			f := r.newFarm(b, "wlc", 1_000_000, 25, nobody)
			f.establish(b, r, flows)
			var turns [3][]turn
			var queues [3][]*queue
			for n := 1; n <= 2; n++ {
				queues[n] = r.open(b, afpacket.Config{}, n)
				for i, q := range queues[n] {
					q.filter(b, pktio.Filter{})
					turns[n] = append(turns[n], f.worker(q, i, n).Run)
				}
			}
			if name == "live" {
				r.generate(b, s)
			}
			var rate [3][]float64
			b.ResetTimer()
			for range rounds {
				for n := 1; n <= 2; n++ {
					for _, q := range queues[n] {
						q.filter(b, r.filter)
					}
					if name == "live" {
						rate[n] = append(rate[n], r.window(b, turns[n]))
					} else {
						if err := s.send(tx, afpacket.DefaultSlots); err != nil {
							b.Fatal(err)
						}
						rate[n] = append(rate[n], r.parallel(b, queues[n], turns[n]))
					}
					for _, q := range queues[n] {
						q.filter(b, pktio.Filter{})
					}
				}
			}
			for n := 1; n <= 2; n++ {
				slices.Sort(rate[n])
				b.ReportMetric(median(rate[n]), fmt.Sprintf("pkts/s-%d", n))
				b.Logf("%d workers: %s packets/s", n, span(rate[n]))
			}
			b.ReportMetric(median(rate[2])/median(rate[1]), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// parallel returns how many packets a second leave rings that are full.
func (r *road) parallel(b *testing.B, queues []*queue, turns []turn) float64 {
	b.Helper()
	was := r.delivered()
	var sides [2]side
	var done []<-chan error
	var gate sync.WaitGroup
	gate.Add(1)
	for i, q := range queues {
		cpu := []int{cpuOfForwarder, cpuOfGenerator}[i]
		done = append(done, spawn(cpu, func() error {
			gate.Wait()
			return sides[i].take(q, turns[i])
		}))
	}
	begin := time.Now()
	gate.Done()
	for _, d := range done {
		if err := <-d; err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(begin)
	return float64(r.delivered()-was) / took.Seconds()
}

// window returns the packets a second that reach the server while the turns run.
func (r *road) window(b *testing.B, turns []turn) float64 {
	b.Helper()
	stop := launch(b, cpuAny, turns...)
	defer stop()
	r.flowing(b)
	begin, n := time.Now(), r.delivered()
	time.Sleep(100 * time.Millisecond)
	return float64(r.delivered()-n) / time.Since(begin).Seconds()
}
