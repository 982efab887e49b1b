package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// rounds is what an agent and a director's catch-up have in common: ask the directors,
// fetch, verify, enact.
type rounds struct {
	store    Store
	log      *slog.Logger
	asker    asker
	patience time.Duration
	fetch    func(ctx context.Context, st *machine.State, at netip.AddrPort) (offer, error)

	patient patient
	said    said

	// A generation that couldn't be taken isn't tried each round: activating it and
	// going back disturbs the machine.
	failed render.Stamp
	pause  time.Duration
	next   time.Time
}

const (
	firstPause = 10 * time.Second
	lastPause  = 5 * time.Minute
)

// round asks once. An error is worth a line in the log; it is said at most once a
// minute by complain.
func (r *rounds) round(ctx context.Context, directors []netip.AddrPort) error {
	if len(directors) == 0 {
		return errors.New("no director is known yet: wait for DHCP, or name one with --director")
	}
	all, err := r.asker.hello(ctx, directors)
	if err != nil {
		return fmt.Errorf("no director answers: %w", err)
	}
	var errs []error
	for _, h := range all {
		done, err := r.follow(ctx, h)
		if err == nil && done {
			return nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("generation %d of %s: %w", h.Generation, h.at, err))
		}
	}
	return errors.Join(errs...)
}

// follow goes by what one director says; done means that the others needn't be asked.
func (r *rounds) follow(ctx context.Context, h heard) (done bool, err error) {
	st, err := r.store.State(ctx)
	if err != nil {
		return true, err
	}
	stalled := r.patient.stalled(&st, time.Now())
	switch decide(&st, h.Generation, stalled, r.patience) {
	case nothing:
		return false, nil
	case wait:
		return true, nil
	}
	o, err := r.fetch(ctx, &st, h.at)
	if err != nil {
		return false, err
	}
	if err := foreign(&st, o.stamp); err != nil {
		return false, err
	}
	// What was fetched counts, not what was said. The fetch took time, too.
	if st, err = r.store.State(ctx); err != nil {
		return true, err
	}
	do := decide(&st, o.stamp.Generation, r.patient.stalled(&st, time.Now()), r.patience)
	if do == nothing || do == wait {
		return false, nil
	}
	if o.stamp == r.failed && time.Now().Before(r.next) {
		return true, nil
	}
	if err := enact(ctx, r.store, &st, do, o); err != nil {
		if o.stamp != r.failed {
			r.failed, r.pause = o.stamp, firstPause
		}
		r.next, r.pause = time.Now().Add(r.pause), min(2*r.pause, lastPause)
		return false, err
	}
	r.failed = render.Stamp{}
	text := map[action]string{
		take:     "took the generation that the directors have confirmed",
		confirm:  "confirmed the generation that rules here: the directors have",
		rollback: "went back to the generation that the directors have confirmed",
	}[do]
	r.log.Info(text, "generation", o.stamp.Generation, "digest", o.stamp.Digest, "director", h.at.String())
	return true, nil
}

// complain logs err, the same text at most once a minute.
func (r *rounds) complain(err error) {
	if r.said.may(err.Error(), time.Now()) {
		r.log.Warn(err.Error())
	}
}
