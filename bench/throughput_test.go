package bench

import (
	"fmt"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkDirector forwards segments of established connections at full load,
// beside a reflector that only sets the addresses.
func BenchmarkDirector(b *testing.B) {
	for _, flows := range []uint32{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			r := newRoad(b)
			f := r.newFarm(b, "wlc", 1_000_000, 25, nobody)
			f.establish(b, r, flows)
			q := r.open(b, afpacket.Config{}, 1)[0]
			s := newSource(flows, frame.ACK, r.in)
			b.ResetTimer()
			director, reflector := r.duel(b, 201, afpacket.DefaultSlots, q, s, f.worker(q, 0, 1).Run, r.reflector(q, nobody))
			compare(b, director, reflector)
		})
	}
}
