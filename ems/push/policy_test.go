package push_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/push/pushtest"
)

// what a machine's absence leads to, by policy.
func TestUnreachable(t *testing.T) {
	for _, c := range []struct {
		name   string
		off    []string
		policy push.Policy
		ending push.Ending
		says   string
	}{
		{"stop", []string{"eps2"}, push.Policy{}, push.RolledBack, "--skip eps2"},
		{"stop, director", []string{"eds2"}, push.Policy{}, push.RolledBack, "--skip eds2"},
		{"skip another", []string{"eps2"}, push.Policy{Skip: []string{"eps1"}}, push.RolledBack, "--skip eps2"},
		{"skip by name", []string{"eps2"}, push.Policy{Skip: []string{"eps2"}}, push.Delivered, ""},
		{"skip all", []string{"eps2", "eps1"}, push.Policy{SkipAll: true}, push.Delivered, ""},
		{"skip the backup director", []string{"eds2"}, push.Policy{Skip: []string{"eds2"}}, push.Delivered, ""},
		{"skip the active director", []string{"eds1"}, push.Policy{SkipAll: true}, push.Delivered, ""},
		{"no director", []string{"eds1", "eds2"}, push.Policy{SkipAll: true}, push.RolledBack, "no director can be reached"},
		{"waited in vain", []string{"eps2"}, push.Policy{Wait: 50 * time.Millisecond}, push.RolledBack, "no route to host"},
		{"waited, then skipped", []string{"eps2"}, push.Policy{Wait: 50 * time.Millisecond, SkipAll: true}, push.Delivered, ""},
		{"unknown name", nil, push.Policy{Skip: []string{"eps9"}}, push.RolledBack, "eps9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := pushtest.New(t, pushtest.Config{Servers: 2})
			first(t, f, 2)
			for _, n := range c.off {
				f.Machines[n].SetOff(true)
			}
			plan := f.Plan(2, f.YAML(2, "second"))
			plan.Policy = c.policy
			res, err := push.Run(t.Context(), plan, nil)
			if res.Ending != c.ending || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%s: %v", res.Ending, err)
			}
			if c.ending == push.RolledBack {
				on(t, f, 1)
			} else {
				on(t, f, 2, c.off...)
			}
			for _, o := range res.Machines {
				if off := slices.Contains(c.off, o.Node); c.ending == push.Delivered && off != (o.Step == push.Skipped) {
					t.Errorf("%+v", o)
				}
			}
			for _, n := range c.off {
				if s := state(t, f.Machines[n]); s.Phase != machine.Settled || s.Confirmed != 1 {
					t.Errorf("%s was off and is on %+v", n, s)
				}
				f.Machines[n].SetOff(false)
			}
			ended(t, f, res, err, c.ending, c.off...)
		})
	}
}

// returns puts a machine back as soon as the push says that it waits for it.
type returns struct{ m *pushtest.Machine }

func (r returns) Event(e push.Event) {
	if e.Node == r.m.Name && e.Step == push.Waiting {
		r.m.SetOff(false)
	}
}

func TestWaits(t *testing.T) {
	for _, node := range []string{"eds2", "eps1"} {
		f := pushtest.New(t, pushtest.Config{Servers: 2})
		f.Machines[node].SetOff(true)
		plan := f.Plan(1, f.YAML(2, "one"))
		plan.Policy.Wait = time.Minute
		res, err := push.Run(t.Context(), plan, returns{f.Machines[node]})
		if err != nil || res.Ending != push.Delivered {
			t.Fatalf("%s: %v", res.Ending, err)
		}
		on(t, f, 1)
	}
}

// Whoever answers with another key gets nothing, however little the operator cares.
func TestHostKeys(t *testing.T) {
	for _, node := range []string{"eds1", "eps1"} {
		f := pushtest.New(t, pushtest.Config{Servers: 2})
		first(t, f, 2)
		f.Machines[node].NewHostKey()
		trusted := 0
		before := len(f.Machines[node].Commands())
		plan := f.Plan(2, f.YAML(2, "second"))
		plan.Policy.SkipAll = true
		plan.SSH.TrustNew = func(string, ssh.PublicKey) error { trusted++; return nil }
		res, err := push.Run(t.Context(), plan, nil)
		if err == nil || push.CauseOf(err) != push.HostKey || trusted != 0 || len(f.Machines[node].Commands()) != before {
			t.Errorf("%s: %v, %d trusted", res.Ending, err, trusted)
		}
		for _, want := range []string{node, "HAS CHANGED", "svm-ems enroll", "SHA256:"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %q", err, want)
			}
		}
		if strings.Count(err.Error(), "SHA256:") != 2 {
			t.Errorf("%v: want both fingerprints", err)
		}
		on(t, f, 1)
		// Left out by its name, the others go on without it.
		plan = f.Plan(2, f.YAML(2, "second"))
		plan.Policy.Skip = []string{node}
		if _, err := push.Run(t.Context(), plan, nil); err != nil {
			t.Error(err)
		}
		on(t, f, 2, node)
	}
}

func TestUnknownHost(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 1})
	plan := f.Plan(1, f.YAML(1, "one"))
	empty, err := push.ParseHosts(nil)
	if err != nil {
		t.Fatal(err)
	}
	plan.SSH.Hosts = empty
	_, err = push.Run(t.Context(), plan, nil)
	if err == nil || push.CauseOf(err) != push.HostKey || !strings.Contains(err.Error(), "isn't known") || !strings.Contains(err.Error(), "--scan") {
		t.Errorf("%v", err)
	}
	plan.SSH.TrustNew = func(string, ssh.PublicKey) error { return errors.New("the operator said no") }
	if _, err = push.Run(t.Context(), plan, nil); err == nil || !strings.Contains(err.Error(), "said no") {
		t.Errorf("%v", err)
	}
	on(t, f, 0)
	var seen atomic.Int32
	plan.SSH.TrustNew = func(string, ssh.PublicKey) error { seen.Add(1); return nil }
	if _, err = push.Run(t.Context(), plan, nil); err != nil || seen.Load() < 2 {
		t.Errorf("%d trusted: %v", seen.Load(), err)
	}
	on(t, f, 1)
	if _, err := push.ParseHosts([]byte("eds1 ssh-ed25519 nonsense\n")); err == nil || strings.Contains(err.Error(), "/tmp") {
		t.Errorf("nonsense: %v", err)
	}
}

// A key that isn't enrolled opens nothing.
func TestWrongKey(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 1})
	other := pushtest.New(t, pushtest.Config{Servers: 1})
	plan := f.Plan(1, f.YAML(1, "one"))
	plan.SSH.Key = other.Station
	plan.Policy.SkipAll = true // that isn't what skipping is for
	_, err := push.Run(t.Context(), plan, nil)
	if err == nil || push.CauseOf(err) != push.Login || !strings.Contains(err.Error(), "svm-ems token") {
		t.Errorf("%v", err)
	}
	on(t, f, 0)
	// The right key, with a bundle of another station.
	foreign := other.Plan(1, f.YAML(1, "one"))
	plan = f.Plan(1, f.YAML(1, "one"))
	plan.Bundle, plan.Signature, plan.Stamp = foreign.Bundle, foreign.Signature, foreign.Stamp
	if _, err = push.Run(t.Context(), plan, nil); err == nil {
		t.Error("a bundle of another station was taken")
	}
	on(t, f, 0)
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name string
		look func(node string, h *push.Health)
		says string
	}{
		{"two active", func(_ string, h *push.Health) {
			if h.Role != "" {
				h.Role = "active"
			}
		}, "active at the same time"},
		{"none active", func(_ string, h *push.Health) { h.Role = "backup" }, "no director is active"},
		{"old file", func(node string, h *push.Health) {
			if node == "eds2" {
				h.Digest = "1234"
			}
		}, "eds2: the daemon does not forward"},
		{"no address", func(_ string, h *push.Health) { h.VIPs = nil }, "no address 192.168.1.100"},
		{"fewer backends", func(_ string, h *push.Health) {
			for _, s := range h.Services {
				s.Backends[0].Up = false
			}
		}, "service web has 1 of the 2"},
		{"trouble", func(node string, h *push.Health) {
			if node == "eps2" {
				h.Problems = []string{"arp_announce is 0"}
			}
		}, "eps2: arp_announce is 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := pushtest.New(t, pushtest.Config{Servers: 2})
			first(t, f, 2)
			for name, m := range f.Machines {
				m.Look = func(h *push.Health) {
					if s, err := m.Store.State(t.Context()); err == nil && s.Phase == machine.Switched {
						c.look(name, h)
					}
				}
			}
			plan := f.Plan(2, f.YAML(2, "second"))
			plan.Times.Health = 100 * time.Millisecond
			res, err := push.Run(t.Context(), plan, nil)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say %q", err, c.says)
			}
			ended(t, f, res, err, push.RolledBack)
		})
	}
}

// On the first push nothing was up before: what is down is told, and only a failure if asked for.
func TestFirstPushWithoutBackends(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 2})
	f.SetDown("eps1", true)
	f.SetDown("eps2", true)
	plan := f.Plan(1, f.YAML(2, "one"))
	plan.RequireUp, plan.Times.Health = true, 200*time.Millisecond
	res, err := push.Run(t.Context(), plan, nil)
	if err == nil || res.Ending != push.RolledBack || !strings.Contains(err.Error(), "0 of the 1 backends") {
		t.Errorf("%s: %v", res.Ending, err)
	}
	on(t, f, 0)
	plan.RequireUp = false
	res, err = push.Run(t.Context(), plan, nil)
	if err != nil || !slices.ContainsFunc(res.Warnings, func(w string) bool { return strings.Contains(w, "eps2 (connect: no route to host)") }) {
		t.Errorf("%v: %q", err, res.Warnings)
	}
	on(t, f, 1)
	// A backend that was down before may stay so; one that is removed doesn't count.
	f.SetDown("eps1", false)
	if _, err := push.Run(t.Context(), f.Plan(2, f.YAML(2, "second")), nil); err != nil {
		t.Error(err)
	}
	if _, err := push.Run(t.Context(), f.Plan(3, f.YAML(1, "third")), nil); err != nil {
		t.Error(err)
	}
	on(t, f, 3, "eps2")
}
