package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/control"
)

// rig is a farm with one director, and what is known of it.
type rig struct {
	*farm.Farm
	cluster  farm.Cluster
	director *netlab.Node
	daemon   *netlab.Cmd // svm-fwd run
	api      *control.Client
}

// patience is how long a state may take to come about on a busy machine.
const patience = 20 * time.Second

// newRig builds a farm of so many real servers and starts it. The farm goes with
// the test t, so subtests may share it; when t ends, it has to leave no trace.
func newRig(t *testing.T, topology farm.Topology, servers int, cluster func(*rig) farm.Cluster) *rig {
	t.Helper()
	lab := netlab.New(t)
	dir, err := os.MkdirTemp("", "svm-e2e-farm-") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &rig{Farm: &farm.Farm{
		Lab: lab, Topology: topology, Families: farm.Both(), Dir: dir, Programs: programs(t), Directors: 1,
	}}
	r.Build(servers)
	r.director = r.EDS[0]
	r.api = control.NewClient(r.Path(r.director, "fwd.sock"))
	r.cluster = cluster(r)
	r.check(t, r.Prepare())
	r.check(t, r.WriteCluster(r.cluster))
	r.check(t, r.StartServers(context.Background()))
	r.start(t)
	return r
}

// finish stops everything and looks for traces.
func (r *rig) finish(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func (r *rig) check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, r.Logs(20))
	}
}

// start starts svm-fwd and waits until it is ready.
func (r *rig) start(t *testing.T) {
	t.Helper()
	var err error
	// Not the context of t: a subtest may start the daemon for those after it.
	r.daemon, err = r.StartDirector(context.Background(), 0)
	r.check(t, err)
	r.ready(t)
}

// ready waits until all servers of all services with weight can take connections.
func (r *rig) ready(t *testing.T) {
	t.Helper()
	why := ""
	r.await(t, "all servers are ready", func(s *control.Status) bool {
		why = ""
		for _, v := range s.Services {
			for _, b := range v.Servers {
				if b.State != "ready" && b.State != "drain" {
					why += fmt.Sprintf("%s %s is %s: %s\n", v.Name, b.Name, b.State, b.Why)
				}
			}
		}
		return why == ""
	}, &why)
}

// await waits until the director's status is as wanted.
func (r *rig) await(t *testing.T, what string, cond func(*control.Status) bool, why ...*string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	if err := farm.Await(ctx, func() bool {
		if last = r.Dead(); last != nil {
			return true
		}
		s, err := r.api.Status(ctx)
		if err != nil {
			if ctx.Err() == nil {
				last = err
			}
			return false
		}
		return cond(&s)
	}); err != nil {
		for _, w := range why {
			what += "\n" + *w
		}
		t.Fatalf("not within %s: %s (%v)\n%s", patience, what, last, r.Logs(20))
	}
	if last != nil && r.Dead() != nil {
		t.Fatal(last)
	}
}

func (r *rig) status(t *testing.T) control.Status {
	t.Helper()
	s, err := r.api.Status(t.Context())
	r.check(t, err)
	return s
}

// reasons are the frames so far by reason, over all workers.
func (r *rig) reasons(t *testing.T) map[string]uint64 {
	t.Helper()
	return sumReasons(r.status(t).Workers)
}

// counts waits until a reason was counted that wasn't before: workers tell their
// counts a few times a second.
func (r *rig) counts(t *testing.T, reason string, before map[string]uint64) {
	t.Helper()
	r.await(t, "a frame is counted as "+reason, func(s *control.Status) bool {
		return sumReasons(s.Workers)[reason] > before[reason]
	})
}

func sumReasons(workers []control.Worker) map[string]uint64 {
	sum := map[string]uint64{}
	for _, w := range workers {
		for k, n := range w.Reasons {
			sum[k] += n
		}
	}
	return sum
}

// kill ends svm-fwd the hard way.
func (r *rig) kill() {
	r.Release(r.daemon)
	r.daemon.Kill()
}

// term ends svm-fwd as an administrator would.
func (r *rig) term(t *testing.T) {
	t.Helper()
	r.Release(r.daemon)
	if err := r.daemon.Stop(10 * time.Second); err != nil {
		t.Errorf("svm-fwd ended with %v\n%s", err, r.daemon.Log())
	}
}

// reconfigure writes a changed cluster file, reloads it by SIGHUP and waits until
// it is in force.
func (r *rig) reconfigure(t *testing.T, change func(*farm.Cluster)) {
	t.Helper()
	before := r.status(t).Digest
	change(&r.cluster)
	r.check(t, r.WriteCluster(r.cluster))
	r.check(t, r.daemon.Signal(syscall.SIGHUP))
	r.await(t, "the new file is in force", func(s *control.Status) bool { return s.Digest != before })
}

// service finds a service of the cluster file.
func service(c *farm.Cluster, name string) *farm.Service {
	for i := range c.Services {
		if c.Services[i].Name == name {
			return &c.Services[i]
		}
	}
	panic("no service " + name)
}

// server finds a server in the status.
func server(s *control.Status, service, name string) *control.Server {
	for i := range s.Services {
		for j := range s.Services[i].Servers {
			if b := &s.Services[i].Servers[j]; s.Services[i].Name == service && b.Name == name {
				return b
			}
		}
	}
	return &control.Server{}
}

// caller calls the i-th VIP.
func (r *rig) caller(fam farm.Family, i int) *farm.Caller {
	c := r.Caller(fam)
	c.VIP = r.MoreVIP(fam, i)
	return c
}

// each runs a subtest for each family.
func each(t *testing.T, f func(*testing.T, farm.Family)) {
	for _, fam := range farm.Both() {
		t.Run(strings.ToLower(fam.String()), func(t *testing.T) { f(t, fam) })
	}
}

// within ends with the test's patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// json decodes what a command of svm-fwd prints.
func (r *rig) json(t *testing.T, into any, args ...string) {
	t.Helper()
	out, err := r.Forward(t.Context(), 0, args...)
	if err == nil {
		err = json.Unmarshal([]byte(out), into)
	}
	r.check(t, err)
}
