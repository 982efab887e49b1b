package push_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/push/pushtest"
	"github.com/svm-cluster/svm/ems/render"
)

// ended checks that the farm is where the push says that it left it, and that the next
// push brings everything onto the next generation.
func ended(t *testing.T, f *pushtest.Farm, res push.Result, err error, want push.Ending, but ...string) {
	t.Helper()
	if res.Ending != want || (err == nil) != (want == push.Delivered) {
		t.Fatalf("the push was %q: %v; want %q", res.Ending, err, want)
	}
	switch want {
	case push.Delivered:
		on(t, f, 2, but...)
	case push.RolledBack:
		on(t, f, 1, but...)
	}
	for _, m := range f.Machines {
		m.Before, m.After, m.Refuse, m.Look = nil, nil, nil, nil
	}
	f.Wrap(nil)
	if res, err := push.Run(t.Context(), f.Plan(3, f.YAML(2, "third")), nil); err != nil {
		t.Fatalf("the next push: %s: %v", res.Ending, err)
	}
	on(t, f, 3)
}

var errFull = &fsError{syscall.ENOSPC}

type fsError struct{ errno syscall.Errno }

func (e *fsError) Error() string { return "write /var/lib/svm-config/x: " + e.errno.Error() }

func TestFailures(t *testing.T) {
	type hooks struct {
		node   string
		verb   push.Verb
		before error // instead of the verb
		after  error // in spite of its success
	}
	for _, c := range []struct {
		hooks
		ending push.Ending
		says   string
	}{
		{hooks{"eds1", push.Stage, errFull, nil}, push.RolledBack, "eds1: write /var/lib/svm-config/x: no space left"},
		{hooks{"eds2", push.Stage, errFull, nil}, push.RolledBack, "eds2: "},
		{hooks{"eps1", push.Stage, errFull, nil}, push.RolledBack, "eps1: "},
		{hooks{"eps2", push.Stage, nil, errFull}, push.RolledBack, "eps2: "},
		{hooks{"eps1", push.Switch, errFull, nil}, push.RolledBack, "no space left"},
		{hooks{"eds1", push.Switch, errFull, nil}, push.RolledBack, "no space left"},
		{hooks{"eds2", push.Switch, errFull, nil}, push.RolledBack, "no space left"},
		// It says no, but its report says that it is done: that counts.
		{hooks{"eds2", push.Switch, nil, errFull}, push.Delivered, ""},
		{hooks{"eps2", push.Switch, nil, errFull}, push.Delivered, ""},
		// The first confirmation decides.
		{hooks{"eds1", push.Confirm, errFull, nil}, push.RolledBack, "no space left"},
		{hooks{"eds1", push.Confirm, nil, errFull}, push.Delivered, ""},
		{hooks{"eds2", push.Confirm, errFull, nil}, push.Unconfirmed, "only has to be pushed again"},
		{hooks{"eps2", push.Confirm, errFull, nil}, push.Unconfirmed, "only has to be pushed again"},
	} {
		t.Run(fmt.Sprintf("%s %s %v %v", c.node, c.verb, c.before != nil, c.after != nil), func(t *testing.T) {
			t.Parallel()
			f := pushtest.New(t, pushtest.Config{Servers: 2})
			first(t, f, 2)
			m := f.Machines[c.node]
			hook := func(err error) func(push.Verb, uint64) error {
				return func(v push.Verb, g uint64) error {
					if v == c.verb && g == 2 {
						return err
					}
					return nil
				}
			}
			m.Before, m.After = hook(c.before), hook(c.after)
			res, err := push.Run(t.Context(), f.Plan(2, f.YAML(2, "second")), nil)
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say %q", err, c.says)
			}
			ended(t, f, res, err, c.ending)
		})
	}
}

// A machine's daemon refuses the new configuration, when it is checked or when it is
// activated; and one that refuses to go back is named.
func TestActivationFails(t *testing.T) {
	for _, node := range []string{"eds1", "eds2", "eps1"} {
		t.Run(node, func(t *testing.T) {
			t.Parallel()
			f := pushtest.New(t, pushtest.Config{Servers: 2})
			first(t, f, 2)
			var calls atomic.Int32
			f.Machines[node].Refuse = func(now *render.Manifest) error {
				if now.Generation == 2 && calls.Add(1) > 1 { // the check is the first
					return errors.New("the device eth9 isn't there")
				}
				return nil
			}
			res, err := push.Run(t.Context(), f.Plan(2, f.YAML(2, "second")), nil)
			if err == nil || !strings.Contains(err.Error(), "eth9") || !strings.Contains(err.Error(), node) {
				t.Errorf("%v", err)
			}
			ended(t, f, res, err, push.RolledBack)
		})
	}
}

// The station's operator loses patience at every step.
func TestCancelled(t *testing.T) {
	for _, node := range []string{"eds1", "eps2"} {
		for _, verb := range []push.Verb{push.Stage, push.Switch} {
			t.Run(fmt.Sprintf("%s %s", node, verb), func(t *testing.T) {
				t.Parallel()
				f := pushtest.New(t, pushtest.Config{Servers: 2})
				first(t, f, 2)
				ctx, cancel := context.WithCancel(t.Context())
				f.Machines[node].Before = func(v push.Verb, g uint64) error {
					if v == verb && g == 2 {
						cancel()
					}
					return nil
				}
				res, err := push.Run(ctx, f.Plan(2, f.YAML(2, "second")), nil)
				if err == nil || !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
				if res.Ending != push.RolledBack {
					t.Fatalf("%s: %v", res.Ending, err)
				}
				// The verbs that were under way go on, on any machine. One that is overtaken by the rollback
				// leaves generation 2 staged: nothing rules by it.
				for name, m := range f.Machines {
					if s := state(t, m); s.Current == nil || s.Current.Generation != 1 || s.Confirmed != 1 || s.Phase == machine.Switched {
						t.Errorf("%s: %+v", name, s)
					}
				}
				ended(t, f, res, err, res.Ending, "eds1", "eds2", "eps1", "eps2")
			})
		}
	}
}

// A receiver dies, or the network does, before or after a verb: nobody hears the answer.
func TestAnswerLost(t *testing.T) {
	for _, node := range []string{"eds1", "eds2", "eps1"} {
		for _, verb := range []push.Verb{push.Stage, push.Switch, push.Confirm} {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s %v", node, verb, late), func(t *testing.T) {
					t.Parallel()
					f := pushtest.New(t, pushtest.Config{Servers: 2})
					first(t, f, 2)
					m := f.Machines[node]
					var once atomic.Bool
					hook := func(v push.Verb, g uint64) error {
						if v == verb && g == 2 && once.CompareAndSwap(false, true) {
							m.Cut()
							return errors.New("killed")
						}
						return nil
					}
					if late {
						m.After = hook
					} else {
						m.Before = hook
					}
					res, err := push.Run(t.Context(), f.Plan(2, f.YAML(2, "second")), nil)
					if !once.Load() {
						t.Fatal("nothing was cut")
					}
					ended(t, f, res, err, push.Delivered)
				})
			}
		}
	}
}

// A machine goes away in the middle and stays away: the others go back, it is named,
// and when it returns the next push brings it along.
func TestGoneInTheMiddle(t *testing.T) {
	for _, node := range []string{"eds1", "eds2", "eps1"} {
		for _, verb := range []push.Verb{push.Stage, push.Switch} {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s %v", node, verb, late), func(t *testing.T) {
					t.Parallel()
					f := pushtest.New(t, pushtest.Config{Servers: 2})
					first(t, f, 2)
					m := f.Machines[node]
					hook := func(v push.Verb, g uint64) error {
						if v == verb && g == 2 {
							m.SetOff(true)
						}
						return nil
					}
					if late {
						m.After = hook
					} else {
						m.Before = hook
					}
					plan := f.Plan(2, f.YAML(2, "second"))
					plan.Times.Away = 300 * time.Millisecond
					plan.Times.Rollback = time.Second
					res, err := push.Run(t.Context(), plan, nil)
					if res.Ending != push.Torn || err == nil || !strings.Contains(err.Error(), "could not be told to go back: "+node) {
						t.Fatalf("%s: %v", res.Ending, err)
					}
					on(t, f, 1, node)
					if s := state(t, m); s.Current == nil || s.Confirmed != 1 {
						t.Errorf("%s: %+v", node, s)
					}
					m.SetOff(false)
					ended(t, f, res, err, push.Torn)
				})
			}
		}
	}
}

// A station that died while machines were confirming is followed by one that goes on.
func TestStationDied(t *testing.T) {
	for _, confirmed := range []string{"eds1", "eps1", ""} {
		for _, next := range []uint64{2, 3} {
			t.Run(fmt.Sprintf("%q %d", confirmed, next), func(t *testing.T) {
				t.Parallel()
				f := pushtest.New(t, pushtest.Config{Servers: 2})
				first(t, f, 2)
				// All machines are switched to 2, and one has confirmed it.
				stop := errors.New("dead")
				for _, m := range f.Machines {
					m.Before = func(v push.Verb, _ uint64) error {
						if v == push.Confirm && m.Name != confirmed || v == push.Rollback {
							return stop
						}
						return nil
					}
				}
				if res, err := push.Run(t.Context(), f.Plan(2, f.YAML(2, "second")), nil); err == nil {
					t.Fatalf("%s", res.Ending)
				}
				var confirms atomic.Int32
				for _, m := range f.Machines {
					m.Before = func(v push.Verb, g uint64) error {
						if v == push.Confirm && g == 2 {
							confirms.Add(1)
						}
						return nil
					}
				}
				if confirmed != "" && confirmed != "eds1" { // its own confirm comes after the directors'
					ctx := t.Context()
					if err := f.Machines[confirmed].Store.Confirm(ctx, 2); err != nil {
						t.Fatal(err)
					}
				}
				yaml := f.YAML(2, "second")
				if next == 3 {
					yaml = f.YAML(2, "third")
				}
				res, err := push.Run(t.Context(), f.Plan(next, yaml), nil)
				if err != nil {
					t.Fatalf("%s: %v", res.Ending, err)
				}
				on(t, f, next)
				// 2 was confirmed everywhere if it was anywhere, else left.
				if want := map[bool]int32{true: 3, false: 0}[confirmed != ""]; next == 3 && confirms.Load() != want {
					t.Errorf("%d machines confirmed generation 2 on the way, want %d", confirms.Load(), want)
				}
			})
		}
	}
}
