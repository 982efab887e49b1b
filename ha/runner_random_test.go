package ha

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Whole runners with a key on a bad network: loss, cuts in one direction,
// crashes, restarts (with new sessions) and shutdowns. When the network is good
// again exactly one is active, soon and for good.
func TestRunnerRandom(t *testing.T) {
	schedules := 1000
	if testing.Short() {
		schedules = 100
	}
	for seed := range uint64(schedules) {
		if !runnerSchedule(t, seed) {
			t.Fatalf("seed %d", seed)
		}
	}
}

func runnerSchedule(t *testing.T, seed uint64) (ok bool) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 5))
		fate := rand.New(rand.NewPCG(seed, 6)) // the hub's own, used under its lock
		h := &hub{}
		var cut [2][2]bool // sender, link
		loss := r.Float64() * 0.5
		rough := true
		h.drop = func(from, _ *port, link int) bool { // under the hub's lock
			return rough && (fate.Float64() < loss || cut[from.name[3]-'1'][link])
		}
		cfgs := [2]Config{testConfig(1, 200), testConfig(2, uint8(100+100*r.IntN(2)))}
		var d [2]*director
		for i := range d {
			cfgs[i].Key = testKey
			cfgs[i].WaitForSync = r.IntN(2) == 0
			cfgs[i].SyncTimeout = time.Second
			d[i] = start(t, h, cfgs[i])
		}
		for range 12 {
			sleep(time.Duration(r.IntN(500)) * ms)
			i := r.IntN(2)
			h.mu.Lock()
			cut[r.IntN(2)][r.IntN(2)] = r.IntN(2) == 0
			h.mu.Unlock()
			switch r.IntN(5) {
			case 0: // a crash: nothing of its goodbye gets out
				h.mu.Lock()
				before := cut[i]
				cut[i] = [2]bool{true, true}
				h.mu.Unlock()
				d[i].stop()
				h.mu.Lock()
				cut[i] = before
				h.mu.Unlock()
				d[i] = start(t, h, cfgs[i])
			case 1:
				d[i].stop()
				d[i] = start(t, h, cfgs[i])
			case 2:
				_ = d[i].Takeover() // refused when the peer cannot be outranked
			}
		}
		h.mu.Lock()
		rough = false
		h.mu.Unlock()
		active := func() (n int) {
			for _, d := range d {
				if d.Status().Role == "active" {
					n++
				}
			}
			return n
		}
		sleep(300 * ms)
		if n := active(); n > 1 {
			t.Errorf("%d are active 3 intervals after the network became good", n)
		}
		sleep(3 * time.Second)
		for range 100 {
			sleep(37 * ms)
			if n := active(); n != 1 {
				t.Errorf("%d are active", n)
				break
			}
		}
		if t.Failed() {
			for _, d := range d {
				t.Logf("%+v", d.Status())
			}
		}
		ok = !t.Failed()
		d[0].stop()
		d[1].stop()
	})
	return ok
}
