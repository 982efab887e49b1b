package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/svm-cluster/svm/ems/render"
)

// drift compares the files of the current generation with what was delivered: at
// their real paths and in the store, where the links lead.
func (x *session) drift(g uint64, m *render.Manifest) []Drift {
	var all []Drift
	tree, err := x.dir.sub(filepath.Join(genName(g), rootDir))
	if err != nil {
		return []Drift{{Tree(x.cfg.Dir, g), err.Error()}}
	}
	defer tree.close()
	for _, e := range m.Files {
		problem := x.hostProblem(e)
		if problem == "" && !copied(e.Path) {
			problem = treeProblem(tree, e)
		}
		if problem != "" {
			all = append(all, Drift{e.Path, problem})
		}
	}
	return all
}

// hostProblem says what is wrong with what lies at a file's real path.
func (x *session) hostProblem(e render.Entry) string {
	if copied(e.Path) {
		problem, err := differs(x.host, rel(e.Path), e)
		if err != nil {
			return err.Error()
		}
		return problem
	}
	is, err := x.look(e.Path)
	switch {
	case err != nil:
		return err.Error()
	case is == absent:
		return "missing"
	case is == stuck:
		return "replaced by what is no file"
	case is == ours:
		return ""
	}
	if t, err := x.host.root.Readlink(rel(e.Path)); err == nil {
		return fmt.Sprintf("link points to %s", t)
	}
	if problem, err := differs(x.host, rel(e.Path), e); err == nil && problem != "" {
		return "link replaced by a file, " + problem
	}
	return "link replaced by a file"
}

// treeProblem says what is wrong with a file in the store. No directory above it may
// be a link.
func treeProblem(tree *place, e render.Entry) string {
	name := rel(e.Path)
	for i, c := range name {
		if c != '/' {
			continue
		}
		fi, err := tree.root.Lstat(name[:i])
		if err != nil {
			return "missing"
		}
		if !fi.IsDir() {
			return "its directory was replaced"
		}
	}
	problem, err := differs(tree, name, e)
	if err != nil {
		return err.Error()
	}
	return problem
}

// mend makes the files of generation g in the store what was delivered, and keeps what
// was changed by hand.
func (x *session) mend(g uint64) error {
	m, err := x.manifest(g)
	if m == nil || err != nil {
		return err
	}
	if err := x.dir.mkdir(filepath.Join(genName(g), rootDir), 0o755); err != nil {
		return err
	}
	tree, err := x.dir.sub(filepath.Join(genName(g), rootDir))
	if err != nil {
		return err
	}
	defer tree.close()
	var whole *render.Config
	for i, e := range m.Files {
		problem := treeProblem(tree, e)
		if problem == "" {
			continue
		}
		if whole == nil {
			if whole, err = x.wholeConfig(g, m); err != nil {
				return fmt.Errorf("%s: %s, and can't be mended: %w", tree.path(e.Path), problem, err)
			}
		}
		x.cfg.Log.Warn("a delivered file is mended", "file", e.Path, "generation", g, "problem", problem)
		if err := x.mendFile(tree, e, whole.Files[i]); err != nil {
			return err
		}
	}
	return nil
}

func (x *session) mendFile(tree *place, e render.Entry, f render.File) error {
	name := rel(e.Path)
	for i, c := range name { // what lies where a directory must be
		if c == '/' {
			if fi, err := tree.root.Lstat(name[:i]); err == nil && !fi.IsDir() {
				if err := tree.drop(name[:i]); err != nil {
					return err
				}
			}
		}
	}
	if err := mkdirs(tree, name); err != nil {
		return err
	}
	fi, err := tree.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return trouble(tree.path(name), err)
	case fi.IsDir():
		if err := tree.dropTree(name); err != nil {
			return err
		}
	case !fi.Mode().IsRegular() && fi.Mode()&fs.ModeSymlink == 0:
		if err := tree.drop(name); err != nil {
			return err
		}
	default:
		if _, err := x.keep(tree, name, e.Path); err != nil {
			return err
		}
	}
	return tree.replace(name, f.Data, ownerAttr(e.Owner, fs.FileMode(e.Mode)))
}

// Repair makes the current generation's files what was delivered, after they were
// changed by hand; what was changed is kept in adopted/. Daemons are then activated
// as if from nothing. Without drift it does nothing; nor does it on a bare machine.
func (s *Store) Repair(ctx context.Context) error {
	x, err := s.enter(ctx, "repair")
	if err != nil {
		return err
	}
	defer x.leave()
	if err := x.finish(ctx); err != nil {
		return err
	}
	g := x.rec.Current
	m, err := x.manifest(g)
	if m == nil || err != nil {
		return err
	}
	if link, err := x.linked(); err == nil && link == g && len(x.drift(g, m)) == 0 {
		return x.retry(ctx)
	}
	if err := x.change(func(r *record) { r.Applied = 0 }); err != nil { // after a crash, too, it is activated
		return err
	}
	if err := x.mend(g); err != nil {
		return err
	}
	if _, err := x.survey(m, m); err != nil { // keeps what lies at real paths
		return err
	}
	if err := x.point(currentLink, g); err != nil {
		return err
	}
	if err := x.install(m); err != nil {
		return err
	}
	return x.retry(ctx)
}
