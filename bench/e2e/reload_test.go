package e2e

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/forwarder/control"
)

// testReload changes the cluster file while requests go on and connections are
// open: none of them is lost.
func testReload(t *testing.T, r *rig) {
	services := slices.Clone(r.cluster.Services)
	var callers []*farm.Caller
	for _, fam := range farm.Both() {
		callers = append(callers, r.caller(fam, webVIP), r.caller(fam, rrVIP))
	}
	open := r.holdEach(t, 4, webVIP, rrVIP)
	l := startLoad(t, callers...)
	l.more(t, 20)

	weights := func(names ...string) func(*farm.Cluster) {
		return func(c *farm.Cluster) {
			for _, name := range []string{"web4", "web6", "rr4", "rr6"} {
				service(c, name).Servers = names
			}
		}
	}
	r.reconfigure(t, weights("eps1, weight: 5", "eps2, weight: 2", "eps3, weight: 1"))
	l.more(t, 20)
	askAll(t, "after new weights", open)

	// A service more.
	r.cluster.Services = append(r.cluster.Services,
		farm.Service{Name: "guest4", VIP: r.MoreVIP(4, guestVIP), Scheduler: "lc"},
		farm.Service{Name: "guest6", VIP: r.MoreVIP(6, guestVIP), Scheduler: "lc"})
	r.check(t, r.WriteCluster(r.cluster))
	for _, n := range r.EPS {
		r.check(t, r.Apply(t.Context(), n))
	}
	if report := r.reload(t); len(report.Changes) != 2 || len(report.Restart) != 0 {
		t.Errorf("reload reported %+v, want two services added", report)
	}
	for _, fam := range farm.Both() {
		if _, _, err := r.caller(fam, guestVIP).Page(t.Context(), "/"); err != nil {
			t.Error(err)
		}
	}
	if report := r.reload(t); report.Changed {
		t.Errorf("the same file again: %+v", report)
	}

	// A server less: first weight 0, with which it keeps what it has, then away.
	r.reconfigure(t, weights("eps1, weight: 1", "eps2, weight: 1", "eps3, weight: 0"))
	l.more(t, 20)
	askAll(t, "with weight 0 for eps3", open)
	open = slices.DeleteFunc(open, func(h *held) bool {
		if h.server != "eps3" {
			return false
		}
		h.conn.Close()
		return true
	})
	r.await(t, "eps3 has no connection left", func(s *control.Status) bool {
		for _, name := range []string{"web4", "web6", "rr4", "rr6"} {
			if server(s, name, "eps3").Active != 0 {
				return false
			}
		}
		return true
	})
	r.reconfigure(t, weights("eps1, weight: 1", "eps2, weight: 1"))
	l.more(t, 20)
	askAll(t, "without eps3", open)

	// A broken file.
	r.broken(t, l)

	// The server and the two services as before.
	r.reconfigure(t, func(c *farm.Cluster) { c.Services = services })
	for _, n := range r.EPS {
		r.check(t, r.Apply(t.Context(), n))
	}
	l.mu.Lock()
	before := l.byServer["eps3"]
	l.mu.Unlock()
	r.ready(t)
	l.more(t, 40)
	l.mu.Lock()
	if l.byServer["eps3"] == before {
		t.Error("eps3 is back, but gets nothing")
	}
	l.mu.Unlock()
	askAll(t, "at the end", open)
	l.stop(t)
}

// reload reloads by svm-fwd's own command.
func (r *rig) reload(t *testing.T) (report control.ReloadReport) {
	t.Helper()
	r.json(t, &report, "reload", "-j")
	return report
}

// broken gives the director a file that it must refuse, by either way.
func (r *rig) broken(t *testing.T, l *load) {
	t.Helper()
	good, err := os.ReadFile(r.ClusterFile())
	r.check(t, err)
	bad := strings.Replace(string(good), "scheduler: wlc", "scheduler: dice", 1)
	r.check(t, os.WriteFile(r.ClusterFile(), []byte(bad), 0o644))
	digest := r.status(t).Digest
	out, err := r.Forward(t.Context(), 0, "reload")
	if err == nil || !strings.Contains(err.Error(), "dice") || !strings.Contains(err.Error(), "cluster.yaml:") {
		t.Errorf("a broken file: %v %s, want a refusal with its place", err, out)
	}
	r.check(t, os.WriteFile(r.ClusterFile(), good, 0o644))
	r.reload(t)
	if s := r.status(t); s.Rejected != "" || s.Digest != digest {
		t.Errorf("with the good file again: rejected %q, digest %s, want %s", s.Rejected, s.Digest, digest)
	}
	r.check(t, os.WriteFile(r.ClusterFile(), []byte(bad), 0o644))
	r.check(t, r.daemon.Signal(syscall.SIGHUP))
	r.await(t, "the refusal of the file is told", func(s *control.Status) bool { return strings.Contains(s.Rejected, "dice") && s.Digest == digest })
	text, err := r.Forward(t.Context(), 0, "status")
	if err != nil || !strings.Contains(text, "REFUSED") {
		t.Errorf("status does not tell of the refusal: %v\n%s", err, text)
	}
	l.more(t, 10)
	r.check(t, os.WriteFile(r.ClusterFile(), good, 0o644))
	var s control.Status
	r.reload(t)
	r.json(t, &s, "list", "-j")
	if b, _ := json.Marshal(s.Rejected); string(b) != `""` {
		t.Errorf("still rejected: %s", b)
	}
}
