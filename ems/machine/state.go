package machine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// Phase of a machine between two generations.
type Phase string

const (
	Bare     Phase = "bare"     // no generation yet
	Settled  Phase = "settled"  // current is confirmed
	Staged   Phase = "staged"   // a newer one lies ready, the current one rules
	Switched Phase = "switched" // the newer one rules, not yet confirmed: Rollback returns
)

// State is what a machine is on.
type State struct {
	Node     string        `json:"node"`
	Kind     render.Kind   `json:"kind"`
	Phase    Phase         `json:"phase"`
	Current  *render.Stamp `json:"current,omitempty"`
	Previous *render.Stamp `json:"previous,omitempty"` // while Switched
	Staged   *render.Stamp `json:"staged,omitempty"`   // may be set while Switched, too
	// Applied is what daemons were told to obey last; other than Current only when the
	// activation failed on the way back, or was interrupted.
	Applied   *render.Stamp `json:"applied,omitempty"`
	Confirmed uint64        `json:"confirmed"`           // the highest generation that was confirmed; older ones are refused
	Unsettled bool          `json:"unsettled,omitempty"` // Settle failed after a confirmation; it is tried again
	Since     time.Time     `json:"since"`               // of Current
	Drift     []Drift       `json:"drift,omitempty"`
}

// Drift is one file that is not what was delivered.
type Drift struct {
	Path    string `json:"path"`
	Problem string `json:"problem"` // "changed by hand", "missing", "mode is 0644, not 0600", ...
}

// State reads what the machine is on, with its drift. Where Recover can't end what was
// interrupted (a full disk, say) it returns the state as it is together with the error.
func (s *Store) State(ctx context.Context) (State, error) {
	x, err := s.enter(ctx, "status")
	if err != nil {
		return State{}, err
	}
	defer x.leave()
	failed := x.finish(ctx)
	st, err := x.state()
	return st, errors.Join(failed, err)
}

func (x *session) state() (State, error) {
	r := x.rec
	st := State{Confirmed: r.Confirmed, Since: r.Since, Unsettled: r.Unsettled != 0}
	now := r.Current
	if r.Pending != nil { // it couldn't be ended: the link says what rules
		link, err := x.linked()
		if err != nil {
			return st, err
		}
		now = link
	}
	switch {
	case now == 0:
		st.Phase = Bare
	case r.Switched:
		st.Phase = Switched
	default:
		st.Phase = Settled
	}
	if r.Staged != 0 && r.Staged != now {
		if st.Phase != Switched {
			st.Phase = Staged
		}
	}
	for _, want := range []struct {
		gen uint64
		to  **render.Stamp
	}{{now, &st.Current}, {r.Previous, &st.Previous}, {r.Staged, &st.Staged}, {r.Applied, &st.Applied}} {
		if want.gen == 0 {
			continue
		}
		m, err := x.manifest(want.gen)
		if err != nil {
			return st, err
		}
		if want.gen == now || st.Node == "" && want.gen == r.Staged {
			st.Node, st.Kind = m.Node, m.Kind
		}
		*want.to = &m.Stamp
	}
	if now == 0 {
		return st, nil
	}
	m, err := x.manifest(now)
	if err != nil {
		return st, err
	}
	if link, err := x.linked(); err != nil || link != now {
		st.Drift = append(st.Drift, Drift{x.path(currentLink), fmt.Sprintf("doesn't point to generation %d", now)})
	}
	st.Drift = append(st.Drift, x.drift(now, m)...)
	return st, nil
}

// Current is the current generation's proof, confirmed or not; nil on a bare machine.
// It takes no lock and needs to read only.
func (s *Store) Current() (*render.Manifest, *Proof, error) {
	return s.proof(func(r record) uint64 { return r.Current })
}

// Confirmed is the proof of the generation that was confirmed last: what may be handed
// on. It is the previous one while the current one isn't confirmed; nil if there is
// none. It takes no lock and needs to read only.
func (s *Store) Confirmed() (*render.Manifest, *Proof, error) {
	return s.proof(func(r record) uint64 {
		if r.Switched {
			return r.Previous
		}
		return r.Current
	})
}
