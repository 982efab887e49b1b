package bench

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkNewConnections sends SYNs, each of a connection of its own: the
// scheduler picks and the table grows. conns/s is what one processor does when
// it does nothing else.
func BenchmarkNewConnections(b *testing.B) {
	for _, scheduler := range []string{"rr", "wlc", "mh"} {
		b.Run(scheduler, func(b *testing.B) {
			const rounds = 101
			r := newRoad(b)
			f := r.newFarm(b, scheduler, 1_000_000, 90, nobody)
			q := r.open(b, afpacket.Config{}, 1)[0]
			s := newSource(1<<24, frame.SYN, r.in)
			w := f.worker(q, 0, 1)
			b.ResetTimer()
			director, reflector := r.duel(b, rounds, afpacket.DefaultSlots, q, s, w.Run, r.reflector(q, nobody))
			if n := f.table.Len(); n != rounds*afpacket.DefaultSlots {
				b.Errorf("%d connections in the table, want %d", n, rounds*afpacket.DefaultSlots)
			}
			compare(b, director, reflector)
			b.ReportMetric(1e9/median(director.column(sample.cost)), "conns/s")
		})
	}
}
