package forwarder

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// Nothing on the way of a packet allocates: known connections, new ones by several
// schedulers, the fallback, drops and replies.
func TestProcessAllocatesNothing(t *testing.T) {
	for _, f := range families() {
		measure := func(name string, r *rig, next func(run int) [][]byte) {
			t.Helper()
			const runs = 20
			batches := make([]pktio.Batch, runs+2)
			for i := range batches {
				r.fill(next(i)...)
				batches[i] = r.rx
			}
			at := 0
			process := func() {
				r.core.Process(&batches[at], &r.servers, &r.clients, r.snap, r.now)
				at++
			}
			process() // the books open a line per server
			if n := testing.AllocsPerRun(runs, process); n != 0 {
				t.Errorf("%s %s: %v allocations a batch", f.name, name, n)
			}
		}
		batch := func(one func(i int) []byte) func(run int) [][]byte {
			return func(run int) (list [][]byte) {
				for i := range pktio.BatchSize {
					list = append(list, one(run*pktio.BatchSize+i))
				}
				return list
			}
		}
		r := newRig(t, 10_000, 50)
		for n := range pktio.BatchSize {
			establish(f, n, 1)(r)
		}
		measure("established", r, func(int) [][]byte { return batch(func(i int) []byte { return f.tcp(i, 1, ack) })(0) })
		for _, name := range []string{"rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "sh", "dh", "mh", "twos"} {
			r := newRig(t, 10_000, 50)
			r.spec(f.webS).sched = name
			r.rebuild()
			measure("new by "+name, r, batch(func(i int) []byte { return f.tcp(i, 1, syn) }))
		}
		r = newRig(t, 10_000, 50)
		measure("new udp", r, batch(func(i int) []byte { return f.udp(i, 1) }))
		measure("new persistent", r, batch(func(i int) []byte { return f.stickyTCP(i*11, i, syn) }))
		measure("fragments", r, func(run int) (list [][]byte) {
			for i := range pktio.BatchSize / 2 {
				first, later := fragments(f.udp(run, i), uint16(i))
				list = append(list, first, later)
			}
			return list
		})
		measure("errors", r, batch(func(i int) []byte { return icmpError(f.tcp(i, 1, syn), 3-b2i(f.v6)) }))
		measure("echo", r, batch(func(int) []byte { return echo(f.host(1), f.vip) }))
		measure("drops", r, batch(func(i int) []byte { return faultCases()[i%len(faultCases())].in[0] }))
		full := newRig(t, 64, 2)
		measure("fallback", full, batch(func(i int) []byte { return f.tcp(i, 1, syn) }))
		if _, bound := full.table.HalfOpen(); full.table.Len() != bound {
			t.Errorf("%d entries, bound %d: that was no fallback", full.table.Len(), bound)
		}
	}
}
