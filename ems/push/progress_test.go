package push_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/push/pushtest"
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestLines(t *testing.T) {
	var b strings.Builder
	l := push.NewLines(&b)
	for _, e := range []push.Event{
		{Node: "eds1", Step: push.Connecting}, {Node: "eds1", Step: push.Uploading, Done: 0, Total: 9}, {Node: "eds1", Step: push.Uploading, Done: 9, Total: 9},
		{Node: "eds2", Step: push.Failed, Error: "\x1b[2Jgone\nreally"}, {Node: "eds1", Step: push.Done},
	} {
		l.Event(e)
	}
	want := "eds1         connecting\neds1         uploading 9 bytes\neds2         failed: ?[2Jgone really\neds1         done\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestBars(t *testing.T) {
	var out lockedBuffer
	nodes := []string{"eds1", "eds2"}
	for i := range 50 {
		nodes = append(nodes, fmt.Sprintf("eps%d", i+1))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	bars := push.StartBars(ctx, &out, nodes)
	for _, n := range nodes {
		bars.Event(push.Event{Node: n, Step: push.Uploading, Done: 1, Total: 2})
		bars.Event(push.Event{Node: n, Step: push.Done})
	}
	bars.Event(push.Event{Node: "eps50", Step: push.Failed, Error: "no route"})
	bars.Event(push.Event{Node: "nobody", Step: push.Done})
	bars.Stop()
	for _, want := range []string{"eds1", "32 more", "eps50: failed: no route"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q isn't drawn", want)
		}
	}
}

func TestGather(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 2})
	plan := f.Plan(1, f.YAML(2, "one"))
	for _, o := range push.Gather(t.Context(), plan, nil) {
		if o.Kind == "director" && (o.Error != "" || o.Report.Phase != "bare") || o.Kind == "realserver" && !strings.Contains(o.Error, "no generation yet") {
			t.Errorf("%+v", o)
		}
	}
	first(t, f, 2)
	f.Machines["eds1"].SetOff(true)
	for _, o := range push.Gather(t.Context(), plan, nil) {
		if off := o.Node == "eds1"; off != (o.Error != "") || !off && (o.Report.Current.Generation != 1 || o.Report.Health == nil) {
			t.Errorf("%+v", o)
		}
	}
}
