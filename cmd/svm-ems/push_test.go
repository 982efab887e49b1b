package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/plan"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/svm-cluster/svm/ems/station"
)

// A station that was restored from an old backup is told how to catch up; a push that
// failed otherwise isn't bothered.
func TestNewer(t *testing.T) {
	g := &station.Generation{}
	g.Stamp = render.Stamp{Cluster: "shop", Generation: 7, Digest: "ours"}
	result := func(confirmed uint64, current render.Stamp) push.Result {
		return push.Result{Machines: []push.Outcome{
			{Node: "eps1"},
			{Node: "eds1", Report: &push.Report{State: machine.State{Confirmed: confirmed, Current: &current}}},
		}}
	}
	for _, c := range []struct {
		name string
		res  push.Result
		want string
	}{
		{"older ones", result(6, render.Stamp{Generation: 6}), ""},
		{"this very one", result(7, g.Stamp), ""},
		{"another one of this number", result(7, render.Stamp{Generation: 7, Digest: "theirs"}), "--at-least 8"},
		{"a newer one", result(9, render.Stamp{Generation: 9}), "--at-least 10"},
		{"one beyond all", result(1<<63, render.Stamp{Generation: 1 << 63}), ""},
		{"nobody heard", push.Result{Machines: []push.Outcome{{Node: "eds1"}}}, ""},
	} {
		got := newer(c.res, g)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestJournalOfAPush(t *testing.T) {
	s, err := station.Init(t.Context(), station.InitConfig{Dir: filepath.Join(t.TempDir(), "st"), Name: "cluster.yaml", YAML: []byte(testFile)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lock(t.Context(), "alice", "svm-ems push", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	g, err := s.Newest()
	if err != nil {
		t.Fatal(err)
	}
	push1, err := begin(s, nil, g)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{journal: push1, show: push.NewLines(&strings.Builder{})}
	r.Event(push.Event{Node: "eds1", Step: push.Staging})
	j, err := s.Journal()
	if err != nil || j.Outcome != station.Running || j.Machines["eds1"].Step != "staging" || delivered(1, j) != "running" {
		t.Errorf("while it runs: %+v, %v", j, err)
	}
	if err := push1.end(push.Result{Stamp: g.Stamp, Ending: push.Delivered, Machines: []push.Outcome{{Node: "eds1", Step: push.Done}}}, nil); err != nil {
		t.Fatal(err)
	}
	if j, err = s.Journal(); err != nil || j.Delivered != 1 || j.Machines["eds1"].Step != "done" || delivered(1, j) != "yes" {
		t.Errorf("after it: %+v, %v", j, err)
	}
	// The next one fails: what was delivered stays known.
	g.Stamp.Generation = 2
	before, err := s.Journal()
	if err != nil {
		t.Fatal(err)
	}
	push2, err := begin(s, before, g)
	if err != nil {
		t.Fatal(err)
	}
	if err := push2.end(push.Result{Ending: push.RolledBack}, errors.New("no route")); err != nil {
		t.Fatal(err)
	}
	if j, err = s.Journal(); err != nil || j.Delivered != 1 || j.Error != "no route" || delivered(2, j) != "rolled back" || delivered(1, j) != "yes" {
		t.Errorf("after the second: %+v, %v", j, err)
	}
}

func TestBrief(t *testing.T) {
	changes := []plan.MachineChange{
		{Change: plan.Added, Files: []plan.FileChange{{Diff: "+a\n"}}},
		{Change: plan.Removed, Files: []plan.FileChange{{Diff: "-a\n"}}},
		{Change: plan.Changed, Files: []plan.FileChange{{Diff: "+b\n"}}},
	}
	brief(changes)
	if changes[0].Files[0].Diff != "" || changes[1].Files[0].Diff != "" || changes[2].Files[0].Diff != "+b\n" {
		t.Errorf("%+v", changes)
	}
}

// What a machine has now comes from what it says, then from what was delivered last.
func TestConfigsOfMixedGenerations(t *testing.T) {
	s, err := station.Init(t.Context(), station.InitConfig{Dir: filepath.Join(t.TempDir(), "st"), Name: "cluster.yaml", YAML: []byte(testFile)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lock(t.Context(), "alice", "svm-ems commit", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	yaml := strings.Replace(testFile, "ports: 80", "ports: 81", 1)
	g, _, err := s.Commit("cluster.yaml", []byte(yaml), station.Change{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Draft("cluster.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	at := &state{base: g, on: map[string]uint64{"eds1": 1, "eps1": 0, "eds2": 99}}
	old, err := at.configs(s, d)
	if err != nil {
		t.Fatal(err)
	}
	if len(old) != 1 || old["eds1"] == nil || old["eds1"].Generation != 1 {
		t.Errorf("%v", old)
	}
	at.on = map[string]uint64{"eps1": 1}
	if old, err = at.configs(s, d); err != nil || len(old) != 3 || old["eds1"].Generation != 2 || old["eps1"].Generation != 1 {
		t.Errorf("%v, %v", old, err)
	}
}
