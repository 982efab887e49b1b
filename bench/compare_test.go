package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// sample is what a forwarder did in one turn.
type sample struct {
	// pps is the frames a second, by the clock on the wall.
	pps float64
	// ns is the processor time that each frame took. It does not know of what
	// else the machine is doing, but for the caches.
	ns float64
}

func makeSample(packets uint64, took, ran time.Duration) sample {
	return sample{float64(packets) / took.Seconds(), float64(ran) / float64(max(packets, 1))}
}

func (s sample) rate() float64 { return s.pps }
func (s sample) cost() float64 { return s.ns }

// side is one of those that are compared.
type side struct {
	name string
	runs []sample
}

// drained is a receiver that, while over is set, ends its reader's turn when the
// ring is empty instead of waiting for more.
type drained struct {
	*afpacket.Receiver
	over func()
}

func (d *drained) Recv(rx *pktio.Batch, wait int) error {
	if d.over == nil {
		return d.Receiver.Recv(rx, wait)
	}
	err := d.Receiver.Recv(rx, 0)
	if rx.N == 0 {
		d.over()
	}
	return err
}

// duel lets two forwarders take turns at emptying the same ring, which the client
// fills beforehand: full load, however busy the machine is, and whatever else it
// does hits both alike. fill is the frames of a turn, at most the ring's slots.
func (r *road) duel(t testing.TB, rounds, fill int, q *queue, s *source, first, second turn) (a, b *side) {
	t.Helper()
	a, b = &side{name: "director"}, &side{name: "reflector"}
	tx := r.sender(t, "eth0")
	err := <-spawn(cpuOfForwarder, func() error {
		for i := range rounds * 2 {
			who, f := a, first
			if i%4 == 1 || i%4 == 2 { // A B B A
				who, f = b, second
			}
			if err := s.send(tx, fill); err != nil {
				return err
			}
			if err := who.take(q, f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// take has f empty the ring on this thread.
func (s *side) take(q *queue, f turn) error {
	ctx, cancel := context.WithCancel(context.Background())
	q.rx.over = cancel
	defer func() { q.rx.over = nil }()
	sent := q.servers.Stats().Packets
	begin, was := time.Now(), processorTime()
	if err := f(ctx); err != nil {
		return err
	}
	took, ran := time.Since(begin), processorTime()-was
	s.runs = append(s.runs, makeSample(q.servers.Stats().Packets-sent, took, ran))
	return nil
}

// column lists one figure of all runs, sorted.
func (s *side) column(of func(sample) float64) []float64 {
	var v []float64
	for _, r := range s.runs {
		v = append(v, of(r))
	}
	slices.Sort(v)
	return v
}

// quantile takes sorted values.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return v[min(int(q*float64(len(v))), len(v)-1)]
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// span is the median with the least and the most.
func span(v []float64) string {
	return fmt.Sprintf("%.0f (%.0f-%.0f)", median(v), quantile(v, 0), quantile(v, 1))
}

func (s *side) String() string {
	return fmt.Sprintf("%-10s %s kpps, %s ns of processor time a packet", s.name,
		span(s.column(func(r sample) float64 { return r.rate() / 1000 })), span(s.column(sample.cost)))
}

// compare reports one side beside another: ratio is of the packets that it
// forwards in the same time, cpu-ratio of those for the same processor time.
func compare(b *testing.B, one, other *side) {
	b.Helper()
	b.Logf("median (min-max) of %d\n%s\n%s", len(one.runs), one, other)
	b.ReportMetric(median(one.column(sample.rate))/median(other.column(sample.rate)), "ratio")
	b.ReportMetric(median(other.column(sample.cost))/median(one.column(sample.cost)), "cpu-ratio")
	b.ReportMetric(median(one.column(sample.cost)), "cpu-ns/pkt")
	b.ReportMetric(0, "ns/op")
}
