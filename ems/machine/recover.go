package machine

import (
	"context"
	"errors"
	"fmt"
)

// Recover ends what a crash interrupted: a switch that had come to its swap is carried
// on, one that had not is undone, a rollback and a confirmation are carried on, a
// half-written generation is removed. Every other method does that first. Recover also
// activates again, or settles, what could not be before, and says if that fails once
// more; Stage and Switch try it, too, but go on: a new generation may be the remedy.
func (s *Store) Recover(ctx context.Context) error {
	x, err := s.enter(ctx, "recover")
	if err != nil {
		return err
	}
	defer x.leave()
	if err := x.finish(ctx); err != nil {
		return err
	}
	return x.retry(ctx)
}

// finish ends what is pending, in the files at least: if it returns nil, nothing is.
func (x *session) finish(ctx context.Context) error {
	p := x.rec.Pending
	if p == nil {
		if _, err := x.manifest(x.rec.Staged); err != nil {
			x.cfg.Log.Warn("what was staged is damaged and dropped", "error", err)
			if err := x.change(func(r *record) { r.Staged = 0 }); err != nil {
				return err
			}
		}
		x.sweep()
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	x.cfg.Log.Warn("an interrupted change is ended", "what", p.What, "from", p.From, "to", p.To)
	err := x.carryOn(ctx)
	if x.rec.Pending != nil {
		return fmt.Errorf("an interrupted %s from generation %d to %d can't be ended: %w", p.What, p.From, p.To, err)
	}
	if err != nil { // the files are right; the Activator failed: see retry
		x.cfg.Log.Warn("an interrupted change was ended", "error", err)
	}
	x.sweep()
	return nil
}

func (x *session) carryOn(ctx context.Context) error {
	p := *x.rec.Pending
	from, err := x.manifest(p.From)
	if err != nil {
		return err
	}
	to, err := x.manifest(p.To)
	if err != nil {
		return err
	}
	if err := errors.Join(x.tidy(from), x.tidy(to)); err != nil {
		return err
	}
	switch p.What {
	case goConfirm:
		return x.confirmed(ctx)
	case goBack, takeBack:
		return x.back(ctx)
	}
	link, err := x.linked()
	if err != nil {
		return err
	}
	if link != p.To {
		return x.undo(ctx, errors.New("it was interrupted before the swap"))
	}
	if err := x.mend(p.To); err != nil {
		return x.undo(ctx, err)
	}
	return x.forthFromSwap(ctx, from, to)
}

// again is retry for those whom its failure doesn't stop.
func (x *session) again(ctx context.Context) {
	if err := x.retry(ctx); err != nil {
		x.cfg.Log.Warn("what failed before fails again", "error", err)
	}
}

// retry does what the Activator failed at before.
func (x *session) retry(ctx context.Context) error {
	if x.rec.Current != 0 && x.rec.Applied != x.rec.Current {
		now, err := x.manifest(x.rec.Current)
		if err != nil {
			return err
		}
		if err := x.cfg.Activator.Activate(ctx, nil, now); err != nil {
			return fmt.Errorf("generation %d, whose files are in place, can't be activated: %w", now.Generation, err)
		}
		if err := x.change(func(r *record) { r.Applied = now.Generation }); err != nil {
			return err
		}
	}
	if x.rec.Unsettled == 0 {
		return nil
	}
	old, err := x.manifest(x.rec.Unsettled)
	if err != nil {
		return err
	}
	now, err := x.manifest(x.rec.Current)
	if err != nil {
		return err
	}
	if err := x.cfg.Activator.Settle(ctx, old, now); err != nil {
		return fmt.Errorf("generation %d is confirmed, but what only generation %d needed can't be taken away: %w", x.rec.Current, old.Generation, err)
	}
	if err := x.remove(now, old); err != nil {
		return err
	}
	return x.change(func(r *record) { r.Unsettled = 0 })
}
