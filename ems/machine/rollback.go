package machine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Rollback leaves generation: a switched one gives way to the last confirmed one, or
// to the bare machine with all that was adopted put back; a staged one is dropped.
// Where the machine isn't on it, or has confirmed it, nothing happens. An error that
// comes from the Activator leaves the files rolled back all the same.
func (s *Store) Rollback(ctx context.Context, generation uint64) error {
	x, err := s.enter(ctx, "rollback")
	if err != nil {
		return err
	}
	defer x.leave()
	if err := x.finish(ctx); err != nil {
		return err
	}
	switch {
	case generation == 0:
	case x.rec.Staged == generation:
		if err := x.change(func(r *record) { r.Staged = 0 }); err != nil {
			return err
		}
		x.sweep()
	case x.rec.Current == generation && x.rec.Switched:
		err := x.leaveCurrent(ctx)
		switch {
		case err != nil && x.rec.Current == generation:
			return fmt.Errorf("generation %d can't be rolled back; it is tried again by the next command: %w", generation, err)
		case err != nil:
			return fmt.Errorf("generation %d is rolled back to %d, but: %w", generation, x.rec.Current, err)
		}
	}
	return nil
}

// leaveCurrent returns from the unconfirmed current generation to the previous one.
func (x *session) leaveCurrent(ctx context.Context) error {
	left := x.rec.Current
	err := x.change(func(r *record) {
		r.Pending = &pending{What: goBack, From: left, To: r.Previous, Taken: r.Taken}
	})
	if err != nil {
		return err
	}
	if err := x.back(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	x.cfg.Log.Info("rolled back", "from", left, "to", x.rec.Current)
	return nil
}

// back goes the way of the pending rollback or undo, from wherever it was interrupted,
// and clears it. An error of a step that the next ones don't need doesn't stop it.
func (x *session) back(ctx context.Context) error {
	p := *x.rec.Pending
	left, err := x.manifest(p.From)
	if err != nil {
		return err
	}
	now, err := x.manifest(p.To)
	if err != nil {
		return err
	}
	link, err := x.linked()
	if err != nil {
		return err
	}
	swapped := x.rec.Applied != p.To // or no daemon knows of the switch that is undone
	var active error                 // what the Activator says
	if now == nil && link == p.From {
		active = x.cfg.Activator.Activate(ctx, left, nil) // while the files are there
	}
	if err := x.mend(p.To); err != nil { // a damaged file is better than none: State shows it
		x.cfg.Log.Error("the generation that is returned to is damaged", "error", err)
	}
	if err := x.point(currentLink, p.To); err != nil {
		return errors.Join(active, err)
	}
	if err := x.point(previousLink, 0); err != nil {
		return errors.Join(active, err)
	}
	if now != nil {
		if err := x.install(now); err != nil {
			return errors.Join(active, err)
		}
		if swapped {
			active = x.cfg.Activator.Activate(ctx, left, now)
		}
		if swapped && active == nil {
			active = x.cfg.Activator.Settle(ctx, left, now)
		}
	}
	if err := errors.Join(x.remove(now, left), x.giveBack(p.Taken)); err != nil {
		return errors.Join(active, err)
	}
	if now == nil && swapped {
		active = errors.Join(active, x.cfg.Activator.Settle(ctx, left, nil))
	}
	applied := p.To
	if active != nil {
		applied = 0
	}
	err = x.change(func(r *record) {
		if p.What == goBack {
			r.Switched, r.Previous, r.Taken = false, 0, taken{}
		}
		r.Current, r.Applied, r.Pending = p.To, applied, nil
		if p.What == goBack {
			r.Since = time.Now().UTC()
		}
	})
	if err == nil {
		x.sweep()
	}
	return errors.Join(active, err)
}
