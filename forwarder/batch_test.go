package forwarder

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// What a batch looks up for all its frames at once must not outlive what one of
// them changes: a batch ends up as its frames do one by one, whatever connections
// begin, close and begin again inside it.
func TestBatchIsItsFramesInOrder(t *testing.T) {
	for _, f := range families() {
		whole, single := newRig(t, 1000, 50), newRig(t, 1000, 50)
		rng := rand.New(rand.NewPCG(11, 12))
		flags := []uint8{ack, ack, ack, ack, ack, ack, syn, frame.FIN | ack, frame.RST}
		for round := range 300 {
			frames := make([][]byte, 1+rng.IntN(pktio.BatchSize))
			for i := range frames {
				frames[i] = f.tcp(rng.IntN(6), 1, flags[rng.IntN(len(flags))])
			}
			var want, got []Reason
			var out [][]byte
			for _, eth := range frames {
				single.fill(slices.Clone(eth))
				want = append(want, single.process()...)
				for i := range single.servers.N {
					out = append(out, slices.Clone(single.servers.Frames[i].Eth()))
				}
			}
			whole.fill(frames...)
			got = append(got, whole.process()...)
			if !slices.Equal(got, want) {
				t.Fatalf("%s, batch %d: together %v, one by one %v", f.name, round, got, want)
			}
			if whole.servers.N != len(out) {
				t.Fatalf("%s, batch %d: together %d frames go out, one by one %d", f.name, round, whole.servers.N, len(out))
			}
			for i, eth := range out {
				if !slices.Equal(whole.servers.Frames[i].Eth(), eth) {
					t.Fatalf("%s, batch %d: frame %d goes to %x together, to %x alone", f.name, round, i, whole.servers.Frames[i].Eth()[:6], eth[:6])
				}
			}
			step := flow.Tick(rng.IntN(300)) // mostly too short for a deadline to need writing
			if rng.IntN(20) == 0 {
				step = 130_000 // closing connections end
			}
			whole.now += step
			single.now += step
		}
	}
}
