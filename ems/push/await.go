package push

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// awaitHealth asks all machines until they are well. At least one look is taken whole,
// however short Times.Health is. What they say counts from Times.Watch on, for until then
// a server may be up by the word of the check that was.
func (r *run) awaitHealth(ctx context.Context) error {
	began := time.Now()
	ask := r.heardServers()
	for {
		v, unwell := r.lookAt(ctx, ask)
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		watched := time.Since(began) >= r.t.Watch
		if len(v.problems) == 0 && watched {
			for _, w := range v.warnings {
				r.warn("%s", w)
			}
			return nil
		}
		if len(v.problems) > 0 && time.Since(began) > r.t.Watch+r.t.Health {
			return fmt.Errorf("the farm was not well within %v after the switch: %s", r.t.Health, strings.Join(v.problems, "; "))
		}
		ask = unwell // those that are well already aren't asked again
		if !watched {
			ask = r.heardServers()
		}
		if !pause(ctx, r.t.Poll) {
			return context.Cause(ctx)
		}
	}
}

// lookAt asks the directors, and those real servers, once. What takes longer than the
// whole farm may take counts as not well.
func (r *run) lookAt(ctx context.Context, ask []*node) (v verdict, unwell []*node) {
	ctx, cancel := context.WithTimeoutCause(ctx, max(r.t.Health, minLook), errors.New("no answer in time"))
	defer cancel()
	_ = each(r.reachable(), func(n *node) error {
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
	v = r.look().judge()
	for _, n := range ask {
		if failed[n] != nil {
			v.wrong("%v", failed[n])
			unwell = append(unwell, n)
			continue
		}
		var own verdict
		f := farm{cluster: r.p.Cluster}
		if f.judgeServer(&own, seen{n.name, healthOf(n.before), healthOf(n.report)}); len(own.problems) > 0 {
			unwell = append(unwell, n)
		}
	}
	return v, unwell
}

// minLook is what one look at the farm may take at least.
const minLook = 10 * time.Second

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
	f := &farm{cluster: r.p.Cluster, requireUp: r.p.RequireUp, out: map[string]bool{}}
	for _, n := range r.servers {
		f.out[n.name] = n.skipped()
	}
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
