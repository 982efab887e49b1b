package farm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// status is the part of svm-fwd list -j that tells whether traffic can flow.
type status struct {
	Role     string
	Services []struct {
		Name    string
		Servers []struct{ Name, State, Why, MAC string }
	}
}

// unready names what a director of the role lacks; empty: nothing.
func (s *status) unready(role string) string {
	var lacks []string
	if s.Role != role {
		lacks = append(lacks, fmt.Sprintf("role is %q, want %q", s.Role, role))
	}
	servers := 0
	for _, svc := range s.Services {
		for _, srv := range svc.Servers {
			servers++
			if srv.State != "ready" && (role == "active" || srv.MAC == "") {
				lacks = append(lacks, fmt.Sprintf("%s on %s is %s: %s", svc.Name, srv.Name, srv.State, srv.Why))
			}
		}
	}
	if servers == 0 {
		lacks = append(lacks, "it has no servers")
	}
	return strings.Join(lacks, "; ")
}

// Ready waits until the i-th director is in its role and its servers can take
// connections; of a backup, until it knows where they are.
func (f *Farm) Ready(ctx context.Context, i int) error { return f.ReadyAs(ctx, i, Role(i)) }

// ReadyAs is Ready for a director that is active or backup by now.
func (f *Farm) ReadyAs(ctx context.Context, i int, role string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	lacks := "no answer yet"
	err := Await(ctx, func() bool {
		if f.Dead() != nil {
			return true
		}
		out, err := f.Forward(ctx, i, "list", "-j")
		if err != nil {
			if ctx.Err() == nil {
				lacks = err.Error()
			}
			return false
		}
		var s status
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			lacks = fmt.Sprintf("list -j: %v", err)
			return false
		}
		lacks = s.unready(role)
		return lacks == ""
	})
	if dead := f.Dead(); dead != nil {
		return dead
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("svm-fwd on %s is not ready after %s: %s", f.EDS[i].Name(), readyWithin, lacks)
	}
	return err
}

// Await polls cond until it is true or the context ends.
func Await(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
