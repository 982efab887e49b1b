package pair

import (
	"fmt"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ha"
)

// TestHandover moves the role about in all planned ways, with transfers under way,
// idle connections open and new ones coming. No packet stands still for long, nothing breaks.
func TestHandover(t *testing.T) {
	r := newRig(t, setup{})
	l := r.open(t, 200, 0, 0)
	p := r.startProbe(t)
	began := time.Now()
	var errs []error
	// to is the active director after it.
	move := func(what string, to int, do func()) gap {
		t.Helper()
		if to == 1 || r.running(0) {
			r.copied(t, to)
		}
		if more := l.transfer(t, 60, 60); more != nil {
			errs = append(errs, more...)
			return gap{}
		}
		asked := r.keepAsking(8)
		before := r.reasons()
		at := time.Now()
		do()
		r.awaitRole(t, to, ha.Active)
		if err := p.Reach(time.Now().Add(2 * interval)); err != nil {
			t.Error(err)
		}
		answered, failed := asked.stop()
		t.Logf("%d new requests were answered, %d failed", answered, len(failed))
		errs = append(errs, failed...)
		g := p.since(t, at)
		errs = append(errs, within(t, what, g, goalPlanned)...)
		if g.Lost > 0 || len(failed) > 0 {
			t.Logf("the hole began %v after the order; frames by what became of them: %v", g.At.Sub(at), changed(before, r.reasons()))
		}
		errs = append(errs, l.Finish("after "+what)...)
		return g
	}
	command := func(i int, verb string) func() {
		return func() {
			out, err := r.Forward(t.Context(), i, "ha", verb)
			r.check(t, err)
			t.Log(firstLine(out))
		}
	}
	gaps := map[string][]time.Duration{}
	note := func(what string, g gap) { gaps[what] = append(gaps[what], g.Hole) }
	round := func() []error {
		r.whole(t)
		errs, began = nil, time.Now()
		note("release", move("svm-fwd ha release", 1, command(0, "release")))
		note("takeover", move("svm-fwd ha takeover", 0, command(0, "takeover")))
		note("SIGTERM", move("SIGTERM", 1, func() {
			r.Release(r.daemons[0])
			if err := r.daemons[0].Stop(5 * time.Second); err != nil {
				t.Errorf("svm-fwd ended with %v", err)
			}
			r.history = append(r.history, roles(0, r.daemons[0].Log())...)
			r.history = append(r.history, role{at: time.Now(), who: 0})
		}))
		note("return", move("return", 0, func() { r.start(t, 0) }))
		// Nobody took the role without being asked.
		if none, _ := reigns(r.timeline(), began, time.Now()); none > 0 {
			errs = append(errs, fmt.Errorf("nobody was active for %v", none))
		}
		return errs
	}
	for range runs(t, 2) {
		r.steady(t, round)
	}
	for what, g := range gaps {
		summary(t, what, g, goalPlanned)
	}
}
