package pair

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/ha"
)

const (
	// patience is how long a state may take to come about on a busy machine.
	patience = 20 * time.Second
	interval = 100 * time.Millisecond
)

// rig is a farm with two directors that elect the active one.
type rig struct {
	*farm.Farm
	daemons [2]*netlab.Cmd
	apis    [2]*control.Client
	history []role // of daemons that have ended
}

// setup is what a rig is like; the zero value is the usual one.
type setup struct {
	ha       string // further keys of the cluster file's mapping
	noKey    bool
	topology farm.Topology
}

// newRig builds and starts a farm. It stops with the test, and has to leave no
// trace then.
func newRig(t testing.TB, s setup) *rig {
	t.Helper()
	lab := netlab.New(t)
	dir, err := os.MkdirTemp("", "svm-pair-farm-") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if s.topology.Name == "" {
		s.topology = farm.Topologies()[0]
	}
	r := &rig{Farm: &farm.Farm{
		Lab: lab, Topology: s.topology, Families: farm.Both(), Dir: dir, Programs: programs(t), Elect: true, NoKey: s.noKey,
	}}
	r.Build(3)
	r.check(t, r.Prepare())
	c := farm.Cluster{HA: s.ha, Services: append(r.WebServices("rr"), r.PulseServices("rr")...)}
	r.check(t, r.WriteCluster(c))
	r.check(t, r.StartServers(context.Background()))
	for i := range r.EDS {
		r.apis[i] = control.NewClient(r.Path(r.EDS[i], "fwd.sock"))
		r.start(t, i)
	}
	r.settled(t, !s.noKey)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.Logs(40))
		} else if err := r.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, r.Logs(20))
	}
}

// start starts the i-th director and does not wait for it.
func (r *rig) start(t testing.TB, i int) {
	t.Helper()
	var err error
	r.daemons[i], err = r.StartDirector(context.Background(), i)
	r.check(t, err)
}

// settled waits until the first director is active, knows all servers, and the
// second has all connections, if they are copied.
func (r *rig) settled(t testing.TB, copied bool) {
	t.Helper()
	for i := range r.EDS {
		r.check(t, r.Ready(context.Background(), i))
	}
	if copied {
		r.check(t, r.Copied(context.Background(), 1))
	}
}

// whole starts the first director if it does not run, and waits until the pair has
// settled with it as the active one.
func (r *rig) whole(t testing.TB) {
	t.Helper()
	if !r.running(0) {
		r.start(t, 0)
	} else if r.pair(t, 0).HA.Released {
		_, err := r.apis[0].Takeover(t.Context())
		r.check(t, err)
	}
	r.settled(t, true)
}

// kill ends the i-th director the hard way.
func (r *rig) kill(i int) time.Time {
	d := r.daemons[i]
	r.Release(d)
	at := time.Now()
	d.Kill()
	r.history = append(append(r.history, roles(i, d.Log())...), role{at: at, who: i})
	return at
}

// await waits for a state of the i-th director.
func (r *rig) await(t testing.TB, i int, what string, cond func(*control.PairStatus) bool) control.PairStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var p control.PairStatus
	var last error
	if err := farm.Await(ctx, func() bool {
		if r.Dead() != nil {
			return true
		}
		var err error
		if p, err = r.apis[i].Pair(ctx); err != nil {
			if ctx.Err() == nil {
				last = err
			}
			return false
		}
		return cond(&p)
	}); err != nil {
		t.Fatalf("%s: not within %s: %s (%v)\n%+v\n%s", r.EDS[i].Name(), patience, what, last, p.HA, r.Logs(20))
	}
	r.check(t, r.Dead())
	return p
}

func (r *rig) awaitRole(t testing.TB, i int, s ha.State) {
	t.Helper()
	r.await(t, i, "is "+s.String(), func(p *control.PairStatus) bool { return p.HA.Role == s.String() })
}

// copied waits until the i-th director, a backup, has all connections.
func (r *rig) copied(t testing.TB, i int) {
	t.Helper()
	r.await(t, i, "has all connections", func(p *control.PairStatus) bool { return p.Sync != nil && p.Sync.Synced })
}

// running tells whether the i-th director's process lives.
func (r *rig) running(i int) bool {
	select {
	case <-r.daemons[i].Done():
		return false
	default:
		return true
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (r *rig) pair(t testing.TB, i int) control.PairStatus {
	t.Helper()
	p, err := r.apis[i].Pair(t.Context())
	r.check(t, err)
	return p
}

// role is a director's word about itself.
type role struct {
	at      time.Time
	who     int
	active  bool
	stalled bool // it stood still, so it gave up what it was
}

// roles reads the changes of role from a log.
func roles(who int, log string) (out []role) {
	for line := range strings.Lines(log) {
		stalled := strings.Contains(line, `msg="ha: clock-stall"`)
		if !stalled && !strings.Contains(line, `msg="ha: role"`) {
			continue
		}
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err == nil {
			out = append(out, role{at, who, strings.Contains(line, "role=active"), stalled})
		}
	}
	return out
}

// stood tells whether a director stood still after a time: a machine so busy that a
// process gets no turn for a fifth of a second proves nothing about timing.
func (r *rig) stood(after time.Time) bool {
	for _, e := range r.timeline() {
		if e.stalled && e.at.After(after) {
			return true
		}
	}
	return false
}

// tries is how often something is tried until no director stood still meanwhile.
const tries = 5

// steady calls f, which returns what was wrong, until the machine gave it a chance.
func (r *rig) steady(t testing.TB, f func() []error) {
	t.Helper()
	for n := 1; ; n++ {
		began := time.Now()
		errs := f()
		if len(errs) == 0 {
			return
		}
		if n < tries && r.stood(began) {
			t.Logf("a director stood still, once more: %v", errs)
			continue
		}
		for _, err := range errs {
			t.Error(err)
		}
		return
	}
}

// timeline is all changes of role so far, the oldest first.
func (r *rig) timeline() []role {
	all := r.history
	for i, d := range r.daemons {
		if r.running(i) {
			all = append(all[:len(all):len(all)], roles(i, d.Log())...)
		}
	}
	return sorted(all)
}
