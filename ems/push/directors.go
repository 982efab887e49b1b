package push

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// call is one step on one director: do gets a living connection. It is repeated as long
// as the connection breaks, because every verb may be given again, for
// Times.Away after the first break.
func (r *run) call(ctx context.Context, n *node, do func(context.Context, *Client) (Answer, error)) (Answer, error) {
	var lost time.Time
	for {
		a, err := r.once(ctx, n, do)
		if err == nil {
			if a.Report != nil {
				n.report = a.Report
			}
			return a, nil
		}
		if lost.IsZero() {
			lost = time.Now()
		}
		if CauseOf(err) != Unreachable || ctx.Err() != nil || time.Since(lost) > r.t.Away {
			return a, err
		}
		r.p.Log.Debug("connection broke, trying again", "node", n.name, "error", err)
		if !pause(ctx, r.t.Retry) {
			return a, err
		}
	}
}

func (r *run) once(ctx context.Context, n *node, do func(context.Context, *Client) (Answer, error)) (a Answer, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.t.Step, fmt.Errorf("no answer within %v", r.t.Step))
	defer cancel()
	if n.client == nil {
		if n.client, err = r.p.SSH.Connect(ctx, n.at); err != nil {
			n.client = nil
			return a, err
		}
	}
	a, err = do(ctx, n.client)
	if err == nil && !a.OK && a.Cause == Unreachable { // busy with an earlier verb
		err = failure(n.name, Unreachable, "%s", a.Error)
	}
	if err != nil && CauseOf(err) == Unreachable {
		n.client.Close()
		n.client = nil
	}
	return a, err
}

// verb gives a director one verb about this generation, and returns nil when what the
// verb is for has come about, even if an answer was lost on the way.
func (r *run) verb(ctx context.Context, n *node, v Verb, generation uint64) error {
	r.event(n, Event{Step: stepOf(v)})
	a, err := r.call(ctx, n, func(ctx context.Context, c *Client) (Answer, error) {
		return c.Do(ctx, Request{Verb: v, Generation: generation}, nil)
	})
	return r.settle(n, v, generation, a, err)
}

// settle says what an answer means for the verb.
func (r *run) settle(n *node, v Verb, generation uint64, a Answer, err error) error {
	switch {
	case err != nil:
		return named(n, err)
	case a.Report == nil && a.OK:
		return failure(n.name, Refused, "it answered without a report: is its receiver of this version?")
	case a.Report != nil:
		n.report = a.Report
	}
	if a.OK {
		return nil
	}
	if a.Report != nil && r.reached(n, v, generation) {
		r.warn("%s: %s", n.name, a.Error)
		return nil
	}
	return named(n, &Error{Node: n.name, Cause: a.Cause, Err: errors.New(a.Error)})
}

// reached tells whether what a verb is for has come about.
func (r *run) reached(n *node, v Verb, generation uint64) bool {
	s := &n.report.State
	is := s.Current != nil && s.Current.Generation == generation
	switch v {
	case Switch:
		return is && s.Applied != nil && s.Applied.Generation == generation
	case Confirm:
		return is && s.Confirmed >= generation
	case Rollback:
		return !is && (s.Staged == nil || s.Staged.Generation != generation) &&
			(s.Current == nil || s.Applied != nil && *s.Applied == *s.Current)
	}
	return v == Stage && n.on(r.p.Stamp)
}

func named(n *node, err error) error {
	var e *Error
	if errors.As(err, &e) && e.Node == n.name {
		return e
	}
	return &Error{Node: n.name, Cause: CauseOf(err), Err: err}
}

// stage uploads the bundle to a director and has it staged.
func (r *run) stage(ctx context.Context, n *node) error {
	g := r.p.Stamp.Generation
	n.touched = true
	a, err := r.call(ctx, n, func(ctx context.Context, c *Client) (Answer, error) {
		return deliver(ctx, c, Request{Verb: Stage, Generation: g}, r.files(), func(e Event) { r.event(n, e) })
	})
	return r.settle(n, Stage, g, a, err)
}

func (r *run) files() []file {
	g := r.p.Stamp.Generation
	return []file{{sigName(g), r.p.Signature}, {bundleName(g), r.p.Bundle}}
}

// upload puts the bundle there without staging it: a director finds the real servers by it.
func (r *run) upload(ctx context.Context, n *node) error {
	if n.confirmed(r.p.Stamp) { // it has the bundle
		return nil
	}
	var total, before int64
	for _, f := range r.files() {
		total += int64(len(f.data))
	}
	_, err := r.call(ctx, n, func(ctx context.Context, c *Client) (Answer, error) {
		before = 0
		for _, f := range r.files() {
			err := c.Upload(ctx, f.name, f.data, false, func(done int64) {
				r.event(n, Event{Step: Uploading, Done: before + done, Total: total})
			})
			if err != nil {
				return Answer{}, err
			}
			before += int64(len(f.data))
		}
		return Answer{OK: true}, nil
	})
	if err != nil {
		return named(n, err)
	}
	return nil
}

// pause waits, and tells whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
