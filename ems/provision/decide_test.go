package provision

import (
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

func stamp(n uint64) *render.Stamp {
	if n == 0 {
		return nil
	}
	return &render.Stamp{Cluster: "shop", Generation: n, Digest: "d"}
}

func TestDecide(t *testing.T) {
	const patience = 2 * time.Minute
	for _, c := range []struct {
		phase                               machine.Phase
		current, previous, staged, confirms uint64 // of the machine
		offered                             uint64
		stalled                             time.Duration
		want                                action
	}{
		{machine.Bare, 0, 0, 0, 0, 0, 0, nothing},
		{machine.Bare, 0, 0, 0, 0, 1, 0, take},
		{machine.Bare, 0, 0, 0, 0, 9, 0, take},
		{machine.Settled, 7, 0, 0, 7, 6, time.Hour, nothing},
		{machine.Settled, 7, 0, 0, 7, 7, time.Hour, nothing},
		{machine.Settled, 7, 0, 0, 7, 8, 0, take},
		// A push is going on, or hangs.
		{machine.Staged, 7, 0, 8, 7, 7, time.Hour, nothing},
		{machine.Staged, 7, 0, 8, 7, 6, time.Hour, nothing},
		{machine.Staged, 7, 0, 8, 7, 8, patience - 1, wait},
		{machine.Staged, 7, 0, 8, 7, 8, patience, take},
		{machine.Staged, 7, 0, 8, 7, 9, patience, take},
		{machine.Staged, 0, 0, 1, 0, 1, 0, wait},
		{machine.Staged, 0, 0, 1, 0, 1, patience, take},
		{machine.Switched, 8, 7, 0, 7, 8, 0, wait},
		{machine.Switched, 8, 7, 0, 7, 8, 10 * time.Second, confirm},
		{machine.Switched, 8, 7, 0, 7, 9, patience - 1, wait},
		{machine.Switched, 8, 7, 0, 7, 9, patience, take},
		{machine.Switched, 8, 7, 0, 7, 7, patience - 1, wait},
		{machine.Switched, 8, 7, 0, 7, 7, patience, rollback},
		{machine.Switched, 8, 7, 0, 7, 6, time.Hour, nothing},
		{machine.Switched, 1, 0, 0, 0, 1, 10 * time.Second, confirm},
		{machine.Switched, 1, 0, 0, 0, 0, time.Hour, nothing},
	} {
		st := &machine.State{Phase: c.phase, Current: stamp(c.current), Previous: stamp(c.previous), Staged: stamp(c.staged), Confirmed: c.confirms}
		if got := decide(st, c.offered, c.stalled, patience); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// A phase that begins again is waited for again.
func TestPatient(t *testing.T) {
	var p patient
	now := time.Now()
	at := func(phase machine.Phase, gen uint64, after time.Duration) time.Duration {
		st := &machine.State{Phase: phase, Current: stamp(gen)}
		return p.stalled(st, now.Add(after))
	}
	for _, c := range []struct {
		phase machine.Phase
		gen   uint64
		after time.Duration
		want  time.Duration
	}{
		{machine.Settled, 7, 0, 0}, {machine.Settled, 7, 5, 5}, {machine.Switched, 8, 6, 0}, {machine.Switched, 8, 9, 3},
		{machine.Switched, 9, 10, 0}, {machine.Settled, 9, 11, 0}, {machine.Switched, 9, 12, 0}, {machine.Switched, 9, 20, 8},
	} {
		if got := at(c.phase, c.gen, c.after); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
