package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// model is what a machine should be on, by the words of the contract only.
type model struct {
	confirmed, current, staged, previous uint64
	switched                             bool
}

// do is the verb's effect where the Activator obeys; want is whether it succeeds.
func (m *model) do(verb string, g uint64) (want error) {
	switch verb {
	case "stage":
		if g <= m.confirmed {
			return ErrOld
		}
		if g != m.current {
			m.staged = g
		}
	case "switch":
		if g == m.current {
			return nil
		}
		if g != m.staged {
			return ErrNotStaged
		}
		m.do("rollback", m.current)
		m.previous, m.current, m.staged, m.switched = m.current, g, 0, true
	case "confirm":
		if g != m.current {
			return ErrNotCurrent
		}
		m.confirmed, m.switched, m.previous = g, false, 0
	case "rollback":
		if g == m.staged {
			m.staged = 0
		} else if g == m.current && m.switched {
			m.current, m.previous, m.switched = m.previous, 0, false
		}
	}
	return nil
}

func (m *model) phase() Phase {
	switch {
	case m.switched:
		return Switched
	case m.staged != 0:
		return Staged
	case m.current != 0:
		return Settled
	}
	return Bare
}

// TestModel does random verbs, with an Activator that sometimes fails and files that
// are sometimes edited, beside the model.
func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 4))
			f := farmIn(t, shm(t))
			m := &model{}
			var story []string
			for range 60 {
				verb := []string{"stage", "stage", "switch", "switch", "confirm", "rollback", "recover", "edit", "reopen"}[r.IntN(9)]
				g := m.confirmed + uint64(r.IntN(4))
				if g == 0 {
					g = 1
				}
				if r.IntN(3) > 0 { // mostly what makes sense
					switch verb {
					case "switch":
						g = max(m.staged, 1)
					case "confirm", "rollback":
						g = max(m.current, 1)
					}
				}
				f.act.fail = map[string]int{}
				if r.IntN(4) == 0 {
					f.act.fail[[]string{"check", "activate", "settle"}[r.IntN(3)]] = 1 + r.IntN(2)
				}
				failing := len(f.act.fail) != 0
				story = append(story, fmt.Sprintf("%s %d %v", verb, g, f.act.fail))
				switch verb {
				case "edit":
					f.edit(r, m.current)
					continue
				case "reopen":
					f.open(t)
					continue
				}
				before := *m
				want := m.do(verb, g)
				err := f.do(verb, g)
				switch {
				case failing:
					m = f.either(t, &before, m, err)
				case !errors.Is(err, want) || want == nil && err != nil:
					t.Errorf("%s %d: %v, want %v", verb, g, err, want)
				}
				f.act.fail = nil
				if err := f.do("recover", 0); err != nil {
					t.Errorf("recover: %v", err)
				}
				f.compare(t, m)
				if t.Failed() {
					t.Fatalf("after %s", strings.Join(story, ", "))
				}
			}
		})
	}
}

// either says which of two models the machine is like after a verb that may have failed.
func (f *farm) either(t *testing.T, before, after *model, err error) *model {
	t.Helper()
	st, serr := f.s.State(ctx)
	if serr != nil {
		t.Fatal(serr)
	}
	back := *before // a failed switch may have left an unconfirmed generation behind
	back.do("rollback", before.current)
	for _, m := range []*model{after, before, &back} {
		if (st.Current == nil && m.current == 0 || st.Current != nil && st.Current.Generation == m.current) &&
			st.Phase == m.phase() && st.Confirmed == m.confirmed && (st.Staged != nil) == (m.staged != 0) {
			if err == nil && m != after && *m != *after {
				t.Errorf("no error, but it is as before")
			}
			return m
		}
	}
	// A stage that failed has dropped what was staged before.
	before.staged = 0
	return before
}

func (f *farm) compare(t *testing.T, m *model) {
	t.Helper()
	st, err := f.s.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := model{confirmed: st.Confirmed, switched: st.Phase == Switched}
	if st.Current != nil {
		got.current = st.Current.Generation
	}
	if st.Staged != nil {
		got.staged = st.Staged.Generation
	}
	if st.Previous != nil {
		got.previous = st.Previous.Generation
	}
	if got != *m || st.Phase != m.phase() {
		t.Errorf("it is on %+v, %s; want %+v, %s", got, st.Phase, *m, m.phase())
	}
	if f.act.ruler != "" && f.act.ruler != fmt.Sprint(m.current) {
		t.Errorf("daemons obey %s, want %d", f.act.ruler, m.current)
	}
	if len(st.Drift) > 0 { // edits are the drift's test's business
		if err := f.do("repair", 0); err != nil {
			t.Errorf("repair: %v", err)
		}
	}
	f.want(t, m.current, m.phase())
}

// edit changes a delivered file, or writes one where a later generation's goes.
func (f *farm) edit(r *rand.Rand, current uint64) {
	c := config(max(current, 1))
	p := f.root + c.Files[r.IntN(len(c.Files))].Path
	if current == 0 {
		return
	}
	switch r.IntN(3) {
	case 0:
		_ = os.WriteFile(p, []byte("edited"), 0o644)
	case 1:
		_ = os.Remove(p)
	case 2:
		_ = os.Chmod(p, 0o604)
	}
}
