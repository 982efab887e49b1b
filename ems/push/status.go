package push

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Gather asks every machine how it is, once, and changes nothing. Real servers are
// asked through the directors, by the roster of the directors' current generation. Of
// the plan only Cluster, SSH, Times and Log are used. progress may be nil.
func Gather(ctx context.Context, p Plan, progress Progress) []Outcome {
	r := newRun(&p, progress)
	defer r.close()
	var g errgroup.Group
	for _, n := range r.directors {
		g.Go(func() error {
			r.event(n, Event{Step: Connecting})
			a, err := r.once(ctx, n, func(ctx context.Context, c *Client) (Answer, error) {
				return c.Do(ctx, Request{Verb: Status}, nil)
			})
			r.heard(n, r.settle(n, Status, 0, a, err))
			return nil
		})
	}
	_ = g.Wait()
	failed := r.relay(ctx, r.servers, Status, 0)
	for _, n := range r.servers {
		r.heard(n, failed[n])
	}
	return slices.Clone(r.result().Machines)
}

func (r *run) heard(n *node, err error) {
	if n.err = err; err == nil {
		r.done(n)
		return
	}
	n.report, n.step = nil, Failed
	r.event(n, Event{Step: Failed, Error: plain(err.Error())})
}
