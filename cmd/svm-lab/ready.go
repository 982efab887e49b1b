package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/svm-cluster/svm/bench/netlab"
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

// ready waits until the director is in its role and its servers can take
// connections; of a backup, until it knows where they are.
func (f *farm) ready(ctx context.Context, p programs, n *netlab.Node, role string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	lacks := "no answer yet"
	err := await(ctx, func() bool {
		if f.dead() != nil {
			return true
		}
		c := n.Command(ctx, p.fwd, "list", "-j", "--socket", f.socket())
		out, err := c.Output()
		if err != nil {
			if ctx.Err() == nil {
				lacks = err.Error()
			}
			return false
		}
		var s status
		if err := json.Unmarshal(out, &s); err != nil {
			lacks = fmt.Sprintf("list -j: %v", err)
			return false
		}
		lacks = s.unready(role)
		return lacks == ""
	})
	if dead := f.dead(); dead != nil {
		return dead
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("svm-fwd on %s is not ready after %s: %s", n.Name(), readyWithin, lacks)
	}
	return err
}
