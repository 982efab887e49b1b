package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkLive is BenchmarkDirector while the client sends as fast as it can, on
// a processor of its own, and the frames are for the server, whose kernel looks
// at each before it drops it. Where the processors have other work besides, the
// client may be too slow to saturate anybody; cpu-ratio suffers less than ratio.
func BenchmarkLive(b *testing.B) {
	for _, flows := range []uint32{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			r := newRoad(b)
			f := r.newFarm(b, "wlc", 1_000_000, 25, r.server0)
			f.establish(b, r, flows)
			q := r.open(b, afpacket.Config{}, 1)[0]
			r.generate(b, newSource(flows, frame.ACK, r.in))
			director, reflector := &side{name: "director"}, &side{name: "reflector"}
			direct, reflect := f.worker(q, 0, 1).Run, r.reflector(q, r.server0)
			b.ResetTimer()
			alternate(director, reflector,
				func() sample { return r.slice(b, direct) }, func() sample { return r.slice(b, reflect) })
			compare(b, director, reflector)
		})
	}
}

// alternate takes the two sides' turns, A B B A, 60 times each.
func alternate(a, b *side, first, second func() sample) {
	for i := range 120 {
		if i%4 == 0 || i%4 == 3 {
			a.runs = append(a.runs, first())
		} else {
			b.runs = append(b.runs, second())
		}
	}
}

// A turn is long beside what stopping and waking a process takes. Its rate is
// counted from warmUp on, when what was in the ring before has gone.
const (
	slice  = 120 * time.Millisecond
	warmUp = 20 * time.Millisecond
)

// watch lets somebody forward for a turn. ran tells the processor time so far, and
// is asked while they rest.
func (r *road) watch(start, stop func(), ran func() time.Duration) sample {
	was, all := ran(), r.delivered()
	start()
	time.Sleep(warmUp)
	begin, n := time.Now(), r.delivered()
	time.Sleep(slice - warmUp)
	took := time.Since(begin)
	n = r.delivered() - n
	stop()
	s := makeSample(n, took, 0)
	s.ns = makeSample(r.delivered()-all, took, ran()-was).ns
	return s
}

// slice is a turn of a function on a thread of its own.
func (r *road) slice(b *testing.B, f turn) sample {
	b.Helper()
	var used time.Duration
	var stop func()
	return r.watch(func() {
		stop = launch(b, cpuOfForwarder, func(ctx context.Context) error {
			was := processorTime()
			err := f(ctx)
			used = processorTime() - was
			return err
		})
	}, func() { stop() }, func() time.Duration { return used })
}
