package machine

import (
	"context"
	"errors"
	"fmt"
)

// Confirm forgets the previous generation's right to return, takes away what only that
// one needed, and refuses all older ones from now on. It says ErrNotCurrent for a
// generation that doesn't rule, and does nothing where it is confirmed already. After
// any other error State's Confirmed says whether it is confirmed; what is left to do
// then is tried again by Recover, Stage, Switch and Confirm.
func (s *Store) Confirm(ctx context.Context, generation uint64) error {
	x, err := s.enter(ctx, "confirm")
	if err != nil {
		return err
	}
	defer x.leave()
	if err := x.finish(ctx); err != nil {
		return err
	}
	if x.rec.Current != generation || generation == 0 {
		return fmt.Errorf("generation %d is %w, which is generation %d", generation, ErrNotCurrent, x.rec.Current)
	}
	if !x.rec.Switched {
		return x.retry(ctx)
	}
	if err := x.retry(ctx); err != nil { // what can't be activated isn't confirmed
		return err
	}
	// This one write is the confirmation.
	err = x.change(func(r *record) {
		r.Pending = &pending{What: goConfirm, From: r.Previous, To: generation}
		r.Confirmed, r.Switched, r.Previous, r.Taken = generation, false, 0, taken{}
	})
	if err != nil {
		return err
	}
	if err := x.confirmed(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("generation %d is confirmed, but: %w", generation, err)
	}
	x.cfg.Log.Info("confirmed", "generation", generation)
	return nil
}

// confirmed does what is left after the confirmation.
func (x *session) confirmed(ctx context.Context) error {
	p := *x.rec.Pending
	old, err := x.manifest(p.From)
	if err != nil {
		return err
	}
	now, err := x.manifest(p.To)
	if err != nil {
		return err
	}
	if err := x.point(previousLink, 0); err != nil {
		return err
	}
	// Settle needs the old generation's files; if it fails they stay until it works, or
	// until the next confirmation.
	settled := x.cfg.Activator.Settle(ctx, old, now)
	if settled == nil {
		older, err := x.manifest(x.rec.Unsettled)
		if err != nil {
			return err
		}
		if err := errors.Join(x.remove(now, old), x.remove(now, older)); err != nil {
			return err
		}
	}
	err = x.change(func(r *record) {
		r.Pending, r.Kept, r.Unsettled = nil, p.From, 0
		if settled != nil {
			r.Unsettled = p.From
		}
	})
	if err != nil {
		return err
	}
	x.sweep()
	return settled
}
