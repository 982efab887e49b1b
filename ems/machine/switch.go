package machine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// Switch makes the staged generation current and activates it. If that fails the one
// before rules again, activated, the new one stays staged, and the error says why.
// Switching to the current one does nothing (Repair mends files). One that isn't
// confirmed doesn't stand in the way: it is rolled back first.
func (s *Store) Switch(ctx context.Context, generation uint64) error {
	x, err := s.enter(ctx, "switch")
	if err != nil {
		return err
	}
	defer x.leave()
	if err := x.finish(ctx); err != nil {
		return err
	}
	if x.rec.Current == generation && generation != 0 {
		return x.retry(ctx)
	}
	if x.rec.Staged != generation || generation == 0 {
		return fmt.Errorf("generation %d is %w", generation, ErrNotStaged)
	}
	if x.rec.Switched {
		if err := x.leaveCurrent(ctx); err != nil && (x.rec.Switched || x.rec.Pending != nil) {
			return err
		}
	}
	x.again(ctx)
	if err := x.forth(ctx, generation); err != nil {
		return fmt.Errorf("the machine stays on generation %d: %w", x.rec.Current, err)
	}
	x.cfg.Log.Info("switched", "generation", generation)
	return nil
}

// forth goes from the current generation to to, or nowhere.
func (x *session) forth(ctx context.Context, to uint64) error {
	from := x.rec.Current
	old, err := x.manifest(from)
	if err != nil {
		return err
	}
	now, err := x.manifest(to)
	if err != nil {
		return err
	}
	if err := x.mend(to); err != nil {
		return err
	}
	if err := x.keepEdits(from, old); err != nil {
		return err
	}
	took, err := x.survey(old, now)
	if err != nil {
		return err
	}
	// From here on there is something to undo: the record says what.
	if err := x.change(func(r *record) { r.Pending = &pending{What: goForth, From: from, To: to, Taken: took} }); err != nil {
		return x.undo(ctx, err)
	}
	if err := x.forthUntilSwap(now); err != nil {
		return x.undo(ctx, err)
	}
	return x.forthFromSwap(ctx, old, now)
}

// forthUntilSwap ends with the swap.
func (x *session) forthUntilSwap(now *render.Manifest) error {
	p := x.rec.Pending
	if err := x.prepare(now); err != nil {
		return err
	}
	if err := x.point(previousLink, p.From); err != nil {
		return err
	}
	return x.point(currentLink, p.To)
}

// forthFromSwap is what is left to do once current points to the new generation.
func (x *session) forthFromSwap(ctx context.Context, old, now *render.Manifest) error {
	if err := x.install(now); err != nil {
		return x.undo(ctx, err)
	}
	// Daemons may know of it now: who goes back activates the old one again.
	if err := x.change(func(r *record) { r.Applied = now.Generation }); err != nil {
		return x.undo(ctx, err)
	}
	if err := x.cfg.Activator.Activate(ctx, old, now); err != nil {
		return x.undo(ctx, fmt.Errorf("generation %d can't be activated: %w", now.Generation, err))
	}
	err := x.change(func(r *record) {
		r.Previous, r.Taken = r.Pending.From, r.Pending.Taken
		r.Current, r.Switched, r.Staged = now.Generation, true, 0
		r.Since, r.Pending = time.Now().UTC(), nil
	})
	if err != nil {
		return x.undo(ctx, err)
	}
	return nil
}

// undo ends a switch that failed for why: what ruled before it rules on. ctx may be
// over; that must not leave the machine in between.
func (x *session) undo(ctx context.Context, why error) error {
	if x.rec.Pending == nil {
		return why
	}
	ctx = context.WithoutCancel(ctx)
	x.cfg.Log.Warn("the switch failed and is undone", "error", why)
	// Best effort: if the record can't be written (a full disk), undoing still can be.
	p := *x.rec.Pending
	p.What, p.From, p.To = takeBack, p.To, p.From
	noted := x.change(func(r *record) { r.Pending = &p })
	x.rec.Pending = &p
	if err := x.back(ctx); err != nil {
		return errors.Join(why, fmt.Errorf("and on the way back: %w", errors.Join(noted, err)))
	}
	return why
}

// keepEdits keeps what was changed by hand in the generation that is left.
func (x *session) keepEdits(g uint64, m *render.Manifest) error {
	if m == nil {
		return nil
	}
	tree, err := x.dir.sub(genName(g) + "/" + rootDir)
	if err != nil {
		x.cfg.Log.Warn("the generation that is left is damaged", "error", err)
		return nil
	}
	defer tree.close()
	for _, e := range m.Files {
		if fi, err := tree.root.Lstat(rel(e.Path)); err != nil || !fi.Mode().IsRegular() {
			continue
		}
		if treeProblem(tree, e) != "" {
			if _, err := x.keep(tree, rel(e.Path), e.Path); err != nil {
				return err
			}
		}
	}
	return nil
}
