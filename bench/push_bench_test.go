package bench

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/push/pushtest"
)

// BenchmarkPush delivers one generation to two directors and their real servers: each
// machine with its own store, receiver and SSH server, all of them and the station in
// this one process. plan-ms is what making and signing the generation takes, push-ms
// the whole push, peak-heap-MB the largest heap that was in use while it ran, above
// what the idle farm holds; that is of the station and all machines together.
//
// The machines' disks are in memory where /dev/shm is there (see the log): the stores
// wait for the disk at each step, and 200 machines that share one disk would measure it.
func BenchmarkPush(b *testing.B) {
	for _, servers := range []int{25, 50, 100, 200} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			dir := pushtest.Dir(b)
			b.Logf("disks in %s", dir)
			f := pushtest.New(b, pushtest.Config{Servers: servers, Dir: dir})
			var planning, pushing time.Duration
			var peak uint64
			g := uint64(0)
			for b.Loop() {
				g++
				yaml := f.YAML(servers, fmt.Sprint("generation ", g))
				began := time.Now()
				plan := f.Plan(g, yaml)
				planning += time.Since(began)
				plan.Times = push.Times{Away: time.Minute, Health: 2 * time.Minute}
				plan.SSH.Timeout, plan.SSH.KeepAlive = time.Minute, 20*time.Second
				stop := watchHeap()
				began = time.Now()
				res, err := push.Run(b.Context(), plan, nil)
				pushing += time.Since(began)
				peak = max(peak, stop())
				if err != nil || res.Ending != push.Delivered {
					b.Fatalf("%s: %v", res.Ending, err)
				}
				if g == 1 {
					b.ReportMetric(float64(len(plan.Bundle))/1024, "bundle-KB")
				}
			}
			n := float64(b.N)
			b.ReportMetric(float64(planning.Milliseconds())/n, "plan-ms")
			b.ReportMetric(float64(pushing.Milliseconds())/n, "push-ms")
			b.ReportMetric(float64(pushing.Milliseconds())/n/float64(servers+2), "push-ms/machine")
			b.ReportMetric(float64(peak)/(1<<20), "peak-heap-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// watchHeap samples the heap's use until it is stopped, and tells by how much its
// largest value was above the first one.
func watchHeap() (stop func() uint64) {
	runtime.GC()
	first := heap()
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		most := first
		for {
			select {
			case <-done:
				peak <- most - first
				return
			case <-tick.C:
				most = max(most, heap())
			}
		}
	}()
	return func() uint64 { close(done); return <-peak }
}

func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
