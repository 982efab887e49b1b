package machine

import (
	"context"
	"errors"
	"fmt"

	"github.com/svm-cluster/svm/ems/render"
)

// Stage writes c beside the current generation, durably, and has the Activator check
// it. Nothing that rules now changes. The same generation may be staged again, and one
// replaces another that is staged. One that is not newer than Confirmed is refused with
// ErrOld, one of another cluster with ErrForeign, a malformed one with ErrRefused. To
// stage what already rules, unconfirmed, does nothing.
func (s *Store) Stage(ctx context.Context, c *render.Config, p Proof) error {
	if err := s.refuse(c); err != nil {
		return err
	}
	p, err := fits(c, p)
	if err != nil {
		return err
	}
	x, err := s.enter(ctx, "stage")
	if err != nil {
		return err
	}
	defer x.leave()
	if err := x.finish(ctx); err != nil {
		return err
	}
	x.again(ctx)
	if err := x.admits(c); errors.Is(err, errSame) {
		return nil
	} else if err != nil {
		return err
	}
	if err := x.stage(ctx, c, p); err != nil {
		x.sweep()
		return fmt.Errorf("generation %d can't be staged: %w", c.Generation, err)
	}
	x.cfg.Log.Info("staged", "generation", c.Generation, "digest", c.Digest)
	return nil
}

// fits checks c against the manifest of its proof.
func fits(c *render.Config, p Proof) (Proof, error) {
	if len(p.Manifest) == 0 {
		p.Manifest = c.Manifest().Encode()
	}
	if max(len(p.Manifest), len(p.Signature), len(p.Bundle), len(p.BundleSig)) > maxProof {
		return p, fmt.Errorf("generation %d is %w: its proof has more than %d bytes", c.Generation, ErrRefused, maxProof)
	}
	m, err := render.ParseManifest(p.Manifest)
	if err == nil {
		err = m.Verify(c)
	}
	if err != nil {
		return p, fmt.Errorf("generation %d is %w: %w", c.Generation, ErrRefused, err)
	}
	return p, nil
}

// errSame says that a generation rules already.
var errSame = errors.New("it rules already")

// admits tells whether c may be staged after what the machine is on.
func (x *session) admits(c *render.Config) error {
	if c.Generation <= x.rec.Confirmed {
		return fmt.Errorf("generation %d is %w, which is generation %d", c.Generation, ErrOld, x.rec.Confirmed)
	}
	now, err := x.manifest(x.rec.Current)
	if now == nil || err != nil {
		return err
	}
	if now.Cluster != c.Cluster {
		return fmt.Errorf("generation %d is %w: %s, and this machine belongs to %s; to give it away, stop its units and move %s away",
			c.Generation, ErrForeign, c.Cluster, now.Cluster, x.dir.name)
	}
	if c.Generation == x.rec.Current { // unconfirmed, or it were old
		if now.Stamp == c.Stamp {
			return errSame
		}
		return fmt.Errorf("generation %d rules here with the digest %s: roll it back first", c.Generation, now.Digest)
	}
	return nil
}

func (x *session) stage(ctx context.Context, c *render.Config, p Proof) error {
	if x.rec.Staged != 0 { // one at a time: it makes room, too
		old := x.rec.Staged
		if err := x.change(func(r *record) { r.Staged = 0 }); err != nil {
			return err
		}
		if err := x.dir.dropTree(genName(old)); err != nil {
			return err
		}
	}
	for _, f := range c.Files { // what would be in Switch's way
		if is, err := x.look(f.Path); err != nil {
			return err
		} else if is == stuck {
			return fmt.Errorf("%s is to be a file of SVM, but is a directory or device: move it away", x.host.path(f.Path))
		}
	}
	dir := genName(c.Generation)
	for _, left := range []string{dir, dir + tmpSuffix} {
		if err := x.dir.dropTree(left); err != nil {
			return err
		}
	}
	if err := x.writeTree(dir+tmpSuffix, c, p); err != nil {
		return err
	}
	m := c.Manifest()
	if err := x.cfg.Activator.Check(ctx, m, x.path(dir+tmpSuffix+"/"+rootDir)); err != nil {
		return fmt.Errorf("the machine doesn't accept it: %w", err)
	}
	// It is whole and checked: now it gets its name, and then the record knows it.
	if err := x.dir.rename(dir+tmpSuffix, dir); err != nil {
		return err
	}
	err := x.change(func(r *record) { r.Staged = c.Generation })
	if err != nil && x.rec.Staged != 0 { // the record has it in spite of the error
		err = errors.Join(err, x.change(func(r *record) { r.Staged = 0 }))
	}
	return err
}
