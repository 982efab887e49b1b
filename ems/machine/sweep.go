package machine

import (
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/svm-cluster/svm/ems/render"
)

// sweep removes generations that the record doesn't name, and what a crash left
// half-written. What it can't remove does no harm: it is tried again next time.
func (x *session) sweep() {
	link, err := x.linked()
	if err != nil {
		return // somebody must look at this first
	}
	r := x.rec
	named := map[string]bool{}
	for _, g := range []uint64{link, r.Current, r.Previous, r.Staged, r.Kept, r.Unsettled} {
		named[genName(g)] = true
	}
	if r.Pending != nil {
		named[genName(r.Pending.From)], named[genName(r.Pending.To)] = true, true
	}
	err = fs.WalkDir(x.dir.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == incomingDir:
			return fs.SkipDir
		case filepath.Dir(name) == generationsDir && !named[name]:
			if err := x.dir.dropTree(name); err != nil {
				return err
			}
			if d.IsDir() {
				return fs.SkipDir
			}
		case isTemp(name) && !d.IsDir():
			return x.dir.drop(name)
		}
		return nil
	})
	if err == nil {
		if m, merr := x.manifest(r.Current); merr == nil {
			err = x.tidy(m)
		}
	}
	if err != nil {
		x.cfg.Log.Warn("what is left of an old or half-written generation could not be removed", "error", err)
	}
}

func isTemp(name string) bool {
	base := filepath.Base(name)
	return strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".svm-new")
}

// tidy removes what a crash left half-written beside the real paths of m.
func (x *session) tidy(m *render.Manifest) error {
	if m == nil {
		return nil
	}
	for _, e := range m.Files {
		if _, err := x.host.root.Lstat(temp(rel(e.Path))); err == nil {
			if err := x.host.drop(temp(rel(e.Path))); err != nil {
				return err
			}
		}
	}
	return nil
}
