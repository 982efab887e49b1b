package push

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxRelay bounds the real servers of one relay command, so that its line stays well
// below maxCommand with the longest names.
const maxRelay = 200

// relay gives a verb to real servers through the directors, half of them through each;
// those that one director doesn't reach are tried through the other one. It returns an
// error for each server that the verb wasn't achieved on.
func (r *run) relay(ctx context.Context, nodes []*node, v Verb, generation uint64) map[*node]error {
	failed := map[*node]error{}
	left := nodes
	var lost time.Time
	for try := 0; len(left) > 0; try++ {
		via := r.reachable()
		if len(via) == 0 {
			for _, n := range left {
				failed[n] = failure(n.name, Unreachable, "no director is left to reach it through")
			}
			return failed
		}
		answers := r.round(ctx, left, via, try, v, generation)
		var again []*node
		for _, n := range left {
			a := answers[n]
			err := r.settle(n, v, generation, a.Answer, a.err)
			if err == nil {
				delete(failed, n)
				continue
			}
			failed[n] = err
			if CauseOf(err) == Unreachable {
				again = append(again, n)
			}
		}
		left = again
		if lost.IsZero() {
			lost = time.Now()
		}
		if try > 0 && time.Since(lost) > r.t.Away {
			break
		}
		// The other director is tried at once.
		if ctx.Err() != nil || len(left) > 0 && try >= len(via)-1 && !pause(ctx, r.t.Retry) {
			break
		}
		// Asking goes round the directors once; only what was begun is worth waiting for.
		if (v == Hello || v == Status) && try >= 1 {
			break
		}
	}
	return failed
}

// answer is a real server's, or why there is none.
type answer struct {
	Answer
	err error
}

// round asks once: nodes are dealt to the directors, which work at the same time.
func (r *run) round(ctx context.Context, nodes []*node, via []*node, try int, v Verb, generation uint64) map[*node]answer {
	shares := make([][]*node, len(via))
	for i, n := range nodes {
		// By its place among all servers, so that a director meets the same ones each time.
		k := (r.place[n.name] + try) % len(via)
		shares[k] = append(shares[k], nodes[i])
	}
	all := make([]map[*node]answer, len(via))
	var g errgroup.Group
	for k, share := range shares {
		g.Go(func() error {
			all[k] = map[*node]answer{}
			for len(share) > 0 {
				part := share[:min(maxRelay, len(share))]
				share = share[len(part):]
				r.through(ctx, via[k], part, v, generation, all[k])
			}
			return nil
		})
	}
	_ = g.Wait()
	sum := map[*node]answer{}
	for _, m := range all {
		for n, a := range m {
			sum[n] = a
		}
	}
	return sum
}

// through relays by one director. Each server gets an answer in to.
func (r *run) through(ctx context.Context, d *node, nodes []*node, v Verb, generation uint64, to map[*node]answer) {
	req := Request{Verb: Relay, Sub: v, Generation: generation}
	for _, n := range nodes {
		req.Nodes = append(req.Nodes, n.name)
	}
	asked := map[string]*node{}
	for _, n := range nodes {
		asked[n.name] = n
	}
	a, err := func() (Answer, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, r.relayTime(len(nodes)), fmt.Errorf("director %s did not end the relay in time", d.name))
		defer cancel()
		c, err := r.hold(ctx, d)
		if err != nil {
			return Answer{}, err
		}
		return c.Do(ctx, req, func(e Event) {
			if n := asked[e.Node]; n != nil { // a director speaks of the servers it was asked about
				r.event(n, e)
			}
		})
	}()
	if err == nil && !a.OK {
		// The director itself refuses; the other one may not.
		err = failure(d.name, Unreachable, "it can't relay: %s", a.Error)
		if a.Cause == Damaged {
			err = errors.Join(err, r.mend(ctx, d))
		}
	} else if err != nil {
		r.drop(d)
	}
	for _, n := range nodes {
		b, ok := a.Relayed[n.name]
		switch {
		case err != nil:
			to[n] = answer{err: &Error{Node: n.name, Cause: Unreachable, Err: fmt.Errorf("through %w", err)}}
		case !ok:
			to[n] = answer{err: failure(n.name, Unreachable, "director %s says nothing of it", d.name)}
		case b.Report == nil && !b.OK && b.Cause != "":
			to[n] = answer{err: failure(n.name, b.Cause, "through %s: %s", d.name, b.Error)}
		case b.Report != nil && (b.Report.Node != n.name || b.Report.Kind != n.kind):
			to[n] = answer{err: failure(n.name, Refused, "the machine at its address says that it is %s %q", b.Report.Kind, plain(b.Report.Node))}
		default:
			to[n] = answer{Answer: b}
		}
	}
}

// mend uploads the bundle to a director that has lost it.
func (r *run) mend(ctx context.Context, d *node) error {
	c, err := r.hold(ctx, d)
	for _, f := range r.files() {
		if err == nil {
			err = c.Upload(ctx, f.name, f.data, true, nil)
		}
	}
	return err
}

// relayTime bounds one relay: the director takes 16 servers at a time.
func (r *run) relayTime(servers int) time.Duration {
	return r.t.Step + r.t.Step*time.Duration(servers)/64
}

// hold returns a director's connection, a new one if need be. A director is used by one
// step at a time, so there is no lock.
func (r *run) hold(ctx context.Context, d *node) (*Client, error) {
	if d.client != nil {
		return d.client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.t.Away)
	defer cancel()
	c, err := r.p.SSH.Connect(ctx, d.at)
	if err != nil {
		return nil, err
	}
	d.client = c
	return c, nil
}

func (r *run) drop(d *node) {
	if d.client != nil {
		d.client.Close()
		d.client = nil
	}
}

// reachable are the directors that relays may go by.
func (r *run) reachable() []*node {
	var some []*node
	for _, d := range r.directors {
		if !d.skipped() && d.report != nil {
			some = append(some, d)
		}
	}
	return some
}
