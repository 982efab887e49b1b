package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// gather hears every machine before anything is sent to be obeyed: who it is, what it
// is on, how it is. Machines that can't be heard are dealt with by the policy.
func (r *run) gather(ctx context.Context) error {
	deadline := time.Now().Add(r.p.Policy.Wait)
	if err := each(r.directors, func(n *node) error { return r.hear(ctx, n, deadline) }); err != nil {
		return err
	}
	via := r.reachable()
	if len(via) == 0 {
		return errors.New("push: no director can be reached, and the real servers are reached through one")
	}
	// The bundle goes to the directors first: by its roster they find the real servers.
	if err := each(via, func(n *node) error { return r.upload(ctx, n) }); err != nil {
		return err
	}
	return r.hearServers(ctx, deadline)
}

// hear asks one director until it answers, or until the policy has had enough.
func (r *run) hear(ctx context.Context, n *node, deadline time.Time) error {
	for try := 0; ; try++ {
		r.event(n, Event{Step: Connecting})
		a, err := r.once(ctx, n, func(ctx context.Context, c *Client) (Answer, error) {
			return c.Do(ctx, Request{Verb: Status}, nil)
		})
		if err = r.settle(n, Status, 0, a, err); err == nil {
			err = r.fits(n)
		}
		if err == nil {
			return nil
		}
		if try == 0 && CauseOf(err) == Unreachable && pause(ctx, r.t.Retry) {
			continue // once more, whatever the policy: one lost packet stops no push
		}
		if again, err := r.unheard(ctx, n, err, deadline); !again {
			return err
		}
	}
}

// unheard decides what becomes of a machine that could not be heard: asked again, left
// alone, or the end of the push.
func (r *run) unheard(ctx context.Context, n *node, err error, deadline time.Time) (again bool, _ error) {
	named := slices.Contains(r.p.Policy.Skip, n.name)
	left := time.Until(deadline)
	if CauseOf(err) == Unreachable && !named && left > 0 && ctx.Err() == nil {
		n.err = err
		r.event(n, Event{Step: Waiting, Error: plain(err.Error())})
		if pause(ctx, min(r.t.Retry, left)) {
			n.err = nil
			return true, nil
		}
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if r.p.Policy.skips(n.name, err) {
		r.skip(n, err)
		return false, nil
	}
	if CauseOf(err) == Unreachable {
		err = fmt.Errorf("%w (wait for it with --wait, or leave it out with --skip %s: it catches up when it returns)", err, n.name)
	}
	return false, err
}

func (r *run) skip(n *node, err error) {
	r.drop(n)
	n.step, n.err = Skipped, err
	r.event(n, Event{Step: Skipped, Error: plain(err.Error())})
	r.warn("%s was left out: %v", n.name, err)
}

// hearServers is hear for all real servers at once, through the directors.
func (r *run) hearServers(ctx context.Context, deadline time.Time) error {
	left := r.servers
	failed := map[*node]error{}
	for len(left) > 0 {
		for n, err := range r.relay(ctx, left, Status, r.p.Stamp.Generation) {
			failed[n] = err
		}
		var again []*node
		for _, n := range left {
			err := failed[n]
			if err == nil {
				err = r.fits(n)
			}
			delete(failed, n)
			if err == nil {
				continue
			}
			// The pause is taken once for all of them, below.
			switch late := time.Now().After(deadline); {
			case CauseOf(err) == Unreachable && !late && !slices.Contains(r.p.Policy.Skip, n.name):
				n.err = err
				r.event(n, Event{Step: Waiting, Error: plain(err.Error())})
				again = append(again, n)
			default:
				if _, err := r.unheard(ctx, n, err, time.Time{}); err != nil {
					failed[n] = err
				}
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(failed) > 0 {
			return r.sum(failed)
		}
		if left = again; len(left) > 0 && !pause(ctx, r.t.Retry) {
			return ctx.Err()
		}
		for _, n := range left {
			n.err = nil
		}
	}
	return nil
}

// fits checks that the machine may get this generation.
func (r *run) fits(n *node) error {
	rep, s := n.report, r.p.Stamp
	if n.before == nil {
		n.before = rep
	}
	if rep.Node != n.name || rep.Kind != n.kind {
		return failure(n.name, Refused, "the machine at its address says that it is %s %q: check its address in the cluster file", rep.Kind, plain(rep.Node))
	}
	if rep.Current != nil && rep.Current.Cluster != s.Cluster {
		return failure(n.name, Refused, "it belongs to cluster %q, not to %q", plain(rep.Current.Cluster), s.Cluster)
	}
	switch {
	case rep.Confirmed > s.Generation:
		return failure(n.name, Outdated, "it has confirmed generation %d, which is newer than %d: push the newest one; if the station was restored from an older copy, restore a newer one", rep.Confirmed, s.Generation)
	case rep.Confirmed == s.Generation && !n.on(s):
		return failure(n.name, Outdated, "it has confirmed another generation %d than this one: two stations count for the same cluster; commit again", s.Generation)
	}
	if r.p.Version != "" && rep.Version != "" && rep.Version != r.p.Version {
		r.warn("%s runs version %s, the station %s", n.name, plain(rep.Version), r.p.Version)
	}
	if skew := time.Since(rep.Time).Abs(); !rep.Time.IsZero() && skew > 30*time.Second {
		r.warn("%s: its clock is %v away from the station's", n.name, skew.Round(time.Second))
	}
	return nil
}
