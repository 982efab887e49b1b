package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/svm-cluster/svm/ems/station"
)

func report(kind render.Kind, generation uint64, change func(*push.Report)) *push.Report {
	r := &push.Report{
		State: machine.State{
			Kind: kind, Phase: machine.Settled, Confirmed: generation,
			Current: &render.Stamp{Cluster: "shop", Generation: generation},
		},
		Version: "1.2.3", Health: &push.Health{},
	}
	change(r)
	return r
}

func TestPrintStatus(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	st := farmStatus{
		Cluster: "shop", Newest: 7,
		Push: &station.Journal{Generation: 7, Outcome: station.Delivered, Ended: at},
		Machines: []machineStatus{
			{Node: "eds1", Kind: "director", Clock: 0.01, ClockWithin: 0.02, Report: report(render.Director, 7, func(r *push.Report) {
				r.Health.Role = "active"
				r.Health.Services = []push.Service{{Name: "web", Backends: []push.Backend{
					{Name: "eps1", Weight: 1, Up: true}, {Name: "eps2", Weight: 1, Reason: "connection refused"}, {Name: "eps3"},
				}}}
			})},
			{Node: "eds2", Kind: "director", Clock: -3.5, ClockWithin: 0.1, Report: report(render.Director, 6, func(r *push.Report) { r.Health.Role = "backup" })},
			{Node: "eps1", Kind: "realserver", Report: report(render.RealServer, 7, func(r *push.Report) {
				r.Drift = []machine.Drift{{Path: "/etc/svm/cluster.yaml", Problem: "changed by hand\x1b[2J"}}
			})},
			{Node: "eps2", Kind: "realserver", Error: "eps2: no route to host"},
			{Node: "eps3", Kind: "realserver", Report: report(render.RealServer, 7, func(*push.Report) {})},
			{Node: "eps4", Kind: "realserver", Report: &push.Report{State: machine.State{Kind: render.RealServer, Phase: machine.Bare}}},
			{Node: "eps5", Kind: "realserver", Report: report(render.RealServer, 7, func(r *push.Report) { r.Phase = machine.Switched })},
			{Node: "eps6", Kind: "realserver", Report: report(render.RealServer, 7, func(r *push.Report) { r.Health.Problems = []string{"rp_filter is 1"} })},
		},
	}
	want := `cluster shop, generation 7 is the newest
the last push, of generation 7, at 2026-01-02 03:04:05: delivered

MACHINE  ROLE         GENERATION  PHASE     DRIFT   HEALTH           VERSION  CLOCK
eds1     active       7           settled   none    1 down           1.2.3    ok
eds2     backup       6           settled   none    behind           1.2.3    -3.5s
eps1     real server  7           settled   1 file  changed by hand  1.2.3    ok
eps2     real server  -           -         -       not heard        -        -
eps3     real server  7           settled   none    well             1.2.3    ok
eps4     real server  -           bare      none    not configured   -        ok
eps5     real server  7           switched  none    push not ended   1.2.3    ok
eps6     real server  7           settled   none    1 problem        1.2.3    ok

eds1: web/eps2 is down: connection refused
eps1: /etc/svm/cluster.yaml: changed by hand?[2J
eps2: no route to host
eps6: rp_filter is 1
`
	var b strings.Builder
	if err := printStatus(&b, &st, ""); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestStatusOfAPush(t *testing.T) {
	running := &station.Journal{Generation: 7, Outcome: station.Running}
	for _, c := range []struct {
		st   farmStatus
		want string
	}{
		{farmStatus{}, "nothing was pushed yet"},
		{farmStatus{Push: running}, "was interrupted"},
		{farmStatus{Push: running, Operator: &station.Owner{User: "bob", Host: "ems", PID: 1, Verb: "svm-ems push"}}, "locked by bob@ems"},
		{farmStatus{Push: running, Operator: &station.Owner{PID: 1}}, "is being pushed since"},
		{farmStatus{Push: &station.Journal{Outcome: "rolled back"}}, ": rolled back"},
	} {
		var b strings.Builder
		if err := printStatus(&b, &c.st, ""); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), c.want) {
			t.Errorf("%q lacks %q", b.String(), c.want)
		}
	}
}

// A machine's clock is compared with the middle of the time that the answer took.
func TestSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stopwatch{began: time.Now(), from: map[string]time.Time{}, to: map[string]time.Time{}}
		time.Sleep(time.Second)
		w.Event(push.Event{Node: "eds1", Step: push.Connecting})
		time.Sleep(50 * time.Millisecond)
		clock := time.Now().Add(3 * time.Second)
		time.Sleep(50 * time.Millisecond)
		w.Event(push.Event{Node: "eds1", Step: push.Done})
		time.Sleep(time.Second)
		if skew, within := w.skew("eds1", clock, true); skew != 3*time.Second || within != 50*time.Millisecond {
			t.Errorf("%v, give or take %v", skew, within)
		}
		// One that was asked at any time since the beginning, and has answered by now.
		w.Event(push.Event{Node: "eps1", Step: push.Connecting})
		if skew, within := w.skew("eps1", time.Now(), false); skew != within || within != 1050*time.Millisecond {
			t.Errorf("%v, give or take %v", skew, within)
		}
	})
}

func TestPermute(t *testing.T) {
	for in, want := range map[string]string{
		"push cluster.yaml -m note":              "push -m note cluster.yaml",
		"--state x push a --skip eps1 --wait=5m": "--state x push --skip eps1 --wait=5m a",
		"image write a.img --usb --force":        "image write --usb --force a.img",
		"history -jn 3":                          "history -jn 3",
		"diff 1 --color 2":                       "diff --color 1 2",
		"show -- -1":                             "show -- -1",
		"commit a -m":                            "commit -m a",
		"restore b --state c":                    "restore --state c b",
		"nonsense -x y":                          "nonsense -x y",
		"":                                       "",
	} {
		args := append([]string{"svm-ems"}, strings.Fields(in)...)
		got := strings.Join(permute(app(nil, nil, nil), args)[1:], " ")
		if in == "nonsense -x y" {
			want = "-x nonsense y" // refused all the same
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if got := permute(app(nil, nil, nil), nil); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
}
