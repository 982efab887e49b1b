package push

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// awaitHealth asks all machines until they are well.
func (r *run) awaitHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.t.Health, errUnwell)
	defer cancel()
	directors, ask := r.reachable(), r.heardServers()
	var problems []string // of the last look that wasn't cut short
	for {
		_ = each(directors, func(n *node) error {
			// Not r.verb: that the daemon is being restarted is no failure here.
			a, err := r.once(ctx, n, func(ctx context.Context, c *Client) (Answer, error) {
				return c.Do(ctx, Request{Verb: Status}, nil)
			})
			if r.settle(n, Status, 0, a, err) != nil && n.report != nil {
				n.report.Health = nil
			}
			return nil
		})
		failed := r.relay(ctx, ask, Status, r.p.Stamp.Generation)
		v := r.look().judge()
		var unwell []*node
		for _, n := range ask {
			if failed[n] != nil {
				v.wrong("%v", failed[n])
				unwell = append(unwell, n)
				continue
			}
			f := farm{cluster: r.p.Cluster, servers: []seen{{n.name, healthOf(n.before), healthOf(n.report)}}}
			var own verdict
			if f.judgeServer(&own, f.servers[0]); len(own.problems) > 0 {
				unwell = append(unwell, n)
			}
		}
		if len(v.problems) == 0 {
			for _, w := range v.warnings {
				r.warn("%s", w)
			}
			return nil
		}
		if ctx.Err() == nil || problems == nil {
			problems = v.problems
		}
		ask = unwell // those that are well already aren't asked again
		if !pause(ctx, r.t.Poll) {
			if cause := context.Cause(ctx); !errors.Is(cause, errUnwell) {
				return cause
			}
			return fmt.Errorf("the farm was not well within %v after the switch: %s", r.t.Health, strings.Join(problems, "; "))
		}
	}
}

var errUnwell = errors.New("not well in time")

// heardServers are the real servers that take part.
func (r *run) heardServers() (some []*node) {
	for _, n := range r.servers {
		if !n.skipped() && n.report != nil {
			some = append(some, n)
		}
	}
	return some
}

// look gathers what is known of the farm.
func (r *run) look() *farm {
	f := &farm{cluster: r.p.Cluster, requireUp: r.p.RequireUp}
	for _, n := range r.directors {
		if n.skipped() {
			f.skipped = true
			continue
		}
		f.directors = append(f.directors, seen{n.name, healthOf(n.before), healthOf(n.report)})
	}
	for _, n := range r.heardServers() {
		f.servers = append(f.servers, seen{n.name, healthOf(n.before), healthOf(n.report)})
	}
	return f
}

func healthOf(r *Report) *Health {
	if r == nil {
		return nil
	}
	return r.Health
}
