package push_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/push/pushtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(receiverDir); dir != "" {
		os.Exit(beReceiver(dir))
	}
	goleak.VerifyTestMain(m)
}

// recorder keeps events.
type recorder struct {
	mu  sync.Mutex
	all []push.Event
}

func (r *recorder) Event(e push.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, e)
}

func (r *recorder) steps(node string) (steps []push.Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.all {
		if e.Node == node && !slices.Contains(steps, e.Step) {
			steps = append(steps, e.Step)
		}
	}
	return steps
}

// first brings a farm onto generation 1.
func first(t *testing.T, f *pushtest.Farm, servers int) {
	t.Helper()
	res, err := push.Run(t.Context(), f.Plan(1, f.YAML(servers, "one")), nil)
	if err != nil || res.Ending != push.Delivered {
		t.Fatalf("first push: %s: %v", res.Ending, err)
	}
}

func state(t *testing.T, m *pushtest.Machine) machine.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := m.Store.State(ctx)
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	return s
}

// on checks that all machines but those are settled on a generation, 0 being bare.
func on(t *testing.T, f *pushtest.Farm, generation uint64, but ...string) {
	t.Helper()
	for _, name := range f.Sorted() {
		if slices.Contains(but, name) {
			continue
		}
		s := state(t, f.Machines[name])
		switch {
		case generation == 0 && s.Phase == machine.Bare && s.Current == nil:
		case generation != 0 && s.Phase == machine.Settled && s.Current.Generation == generation && s.Confirmed == generation && len(s.Drift) == 0:
		default:
			t.Errorf("%s: %+v, want generation %d, settled", name, s, generation)
		}
	}
}

func TestPush(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 2})
	rec := &recorder{}
	res, err := push.Run(t.Context(), f.Plan(1, f.YAML(2, "one")), rec)
	if err != nil || res.Ending != push.Delivered {
		t.Fatalf("%s: %v", res.Ending, err)
	}
	on(t, f, 1)
	if len(res.Machines) != 4 || len(res.Warnings) != 0 {
		t.Errorf("%+v", res)
	}
	for _, o := range res.Machines {
		if o.Step != push.Done || o.Error != "" || o.Report == nil {
			t.Errorf("%+v", o)
		}
	}
	want := []push.Step{push.Connecting, push.Uploading, push.Staging, push.Switching, push.Confirming, push.Done}
	for name := range f.Machines {
		if got := rec.steps(name); !slices.Equal(got, want) {
			t.Errorf("%s went through %v, want %v", name, got, want)
		}
	}
	if !bytes.Contains(f.Machines["eps1"].File("/etc/svm/cluster.yaml"), []byte("eps1")) || bytes.Contains(f.Machines["eps1"].File("/etc/svm/cluster.yaml"), []byte("eps2")) {
		t.Error("eps1's file isn't its own part")
	}

	// The same again touches nothing.
	before := f.Machines["eps1"].Activations.Load() + f.Machines["eds1"].Activations.Load()
	if res, err = push.Run(t.Context(), f.Plan(1, f.YAML(2, "one")), nil); err != nil || res.Ending != push.Delivered {
		t.Fatalf("again: %s: %v", res.Ending, err)
	}
	if after := f.Machines["eps1"].Activations.Load() + f.Machines["eds1"].Activations.Load(); after != before {
		t.Error("a push of what is there activated something")
	}
	if _, err := push.Run(t.Context(), f.Plan(2, f.YAML(2, "two")), nil); err != nil {
		t.Fatal(err)
	}
	on(t, f, 2)
	// An older one is refused, and nothing changes.
	if res, err = push.Run(t.Context(), f.Plan(1, f.YAML(2, "one")), nil); err == nil || push.CauseOf(err) != push.Outdated {
		t.Errorf("older: %s: %v", res.Ending, err)
	}
	on(t, f, 2)
}
