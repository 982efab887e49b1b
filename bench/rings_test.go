package bench

import (
	"fmt"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkRings is BenchmarkDirector at a million flows with rings of other
// sizes. A ring goes round through all its memory, full or not.
func BenchmarkRings(b *testing.B) {
	for _, slots := range []int{256, 1024, 2048, 4096, 16384} {
		b.Run(fmt.Sprintf("slots=%d", slots), func(b *testing.B) {
			const flows = 1_000_000
			r := newRoad(b)
			f := r.newFarm(b, "wlc", 1_000_000, 25, nobody)
			f.establish(b, r, flows)
			q := r.open(b, afpacket.Config{Slots: slots}, 1)[0]
			s := newSource(flows, frame.ACK, r.in)
			b.ResetTimer()
			director, reflector := r.duel(b, 1+101*4096/slots, slots, q, s, f.worker(q, 0, 1).Run, r.reflector(q, nobody))
			compare(b, director, reflector)
		})
	}
}
