package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// defaultPatience is how long a generation that somebody staged or switched here, and
// did neither confirm nor roll back, is left alone: a push may be going on.
const defaultPatience = 2 * time.Minute

// action is what a machine does when it hears which generation is confirmed.
type action int

const (
	nothing  action = iota
	wait            // a push may be going on
	take            // stage, switch and confirm it
	confirm         // it rules here already, only the confirmation was missed
	rollback        // what rules here was given up elsewhere
)

// decide compares the machine with a generation that a director has confirmed.
// stalled is how long the machine has been in its phase.
func decide(st *machine.State, confirmed uint64, stalled, patience time.Duration) action {
	if confirmed == 0 {
		return nothing
	}
	switch st.Phase {
	case machine.Bare, machine.Settled:
		if confirmed > st.Confirmed && (st.Current == nil || confirmed > st.Current.Generation) {
			return take
		}
	case machine.Staged:
		switch {
		case confirmed <= st.Confirmed:
		case stalled < patience:
			return wait
		default:
			return take
		}
	case machine.Switched:
		switch {
		case st.Current == nil:
		case confirmed == st.Current.Generation && stalled >= patience/12:
			return confirm // the push is beyond its last step back: only its own word is awaited
		case stalled < patience:
			return wait
		case confirmed > st.Current.Generation:
			return take
		case st.Previous != nil && confirmed == st.Previous.Generation:
			return rollback
		}
	}
	return nothing
}

// patient measures how long a machine has been in a phase, by its own clock: nothing
// set by hand on the machine shortens it.
type patient struct {
	phase machine.Phase
	gen   uint64
	since time.Time
}

func (p *patient) stalled(st *machine.State, now time.Time) time.Duration {
	gen := uint64(0)
	switch {
	case st.Phase == machine.Staged && st.Staged != nil:
		gen = st.Staged.Generation
	case st.Current != nil:
		gen = st.Current.Generation
	}
	if p.since.IsZero() || p.phase != st.Phase || p.gen != gen {
		*p = patient{st.Phase, gen, now}
	}
	return now.Sub(p.since)
}

// offer is a generation that was fetched and whose signature was verified.
type offer struct {
	stamp render.Stamp
	// open makes this machine's files of it. It is called for take only.
	open func() (*render.Config, machine.Proof, error)
}

// enact does what was decided with a verified offer.
func enact(ctx context.Context, s Store, st *machine.State, do action, o offer) error {
	switch do {
	case take:
		return takeOver(ctx, s, st, o)
	case confirm:
		if *st.Current != o.stamp {
			return fmt.Errorf("generation %d rules here with digest %.12s, the director's has %.12s", o.stamp.Generation, st.Current.Digest, o.stamp.Digest)
		}
		return s.Confirm(ctx, o.stamp.Generation)
	case rollback:
		if *st.Previous != o.stamp {
			return fmt.Errorf("generation %d was here with digest %.12s, the director's has %.12s", o.stamp.Generation, st.Previous.Digest, o.stamp.Digest)
		}
		return s.Rollback(ctx, st.Current.Generation)
	}
	return nil
}

func takeOver(ctx context.Context, s Store, st *machine.State, o offer) error {
	c, proof, err := o.open()
	if err != nil {
		return err
	}
	gen := o.stamp.Generation
	// What a push left behind, and nobody confirmed, makes room.
	if st.Phase == machine.Switched {
		if err := s.Rollback(ctx, st.Current.Generation); err != nil {
			return err
		}
	}
	if st.Staged != nil && st.Staged.Generation != gen {
		if err := s.Rollback(ctx, st.Staged.Generation); err != nil {
			return err
		}
	}
	if err := s.Stage(ctx, c, proof); err != nil {
		return fmt.Errorf("stage generation %d: %w", gen, err)
	}
	if err := s.Switch(ctx, gen); err != nil {
		// A generation that fails here must not lie in the way of the next one.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if rerr := s.Rollback(undo, gen); rerr != nil {
			err = fmt.Errorf("%w; rolling back: %w", err, rerr)
		}
		return fmt.Errorf("switch to generation %d: %w", gen, err)
	}
	if err := s.Confirm(ctx, gen); err != nil {
		return fmt.Errorf("confirm generation %d: %w", gen, err)
	}
	return nil
}

// foreign tells what keeps a machine from taking an offer for another cluster, which
// the same station may well have signed.
func foreign(st *machine.State, o render.Stamp) error {
	for _, have := range []*render.Stamp{st.Current, st.Previous} {
		if have != nil && have.Cluster != o.Cluster {
			return fmt.Errorf("it is for cluster %s, this machine is of %s", o.Cluster, have.Cluster)
		}
	}
	return nil
}

// partOffer verifies a part.
func partOffer(raw []byte, pin, node string) (offer, string, error) {
	c, signed, err := bundle.OpenPart(raw, pin, node)
	if err != nil {
		return offer{}, "", err
	}
	return offer{c.Stamp, func() (*render.Config, machine.Proof, error) {
		return c, machine.Proof{Manifest: []byte(signed.Manifest), Signature: []byte(signed.Signature)}, nil
	}}, c.Node, nil
}
