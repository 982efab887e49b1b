package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/svm-cluster/svm/ems/render"
)

// copied tells whether a file's real path holds a copy and not a link: systemd reads
// these before other file systems than the root one are there, and systemctl doesn't
// treat a unit that is a link as one of its own.
func copied(path string) bool {
	return strings.HasPrefix(path, "/etc/systemd/") || strings.HasPrefix(path, "/etc/sysctl.d/")
}

// found is what lies at a file's real path.
type found int

const (
	absent  found = iota
	ours          // our link, or a copy as delivered
	foreign       // another file or link
	stuck         // what can't be replaced by a file: a directory, a device
)

// host names in place x.host.
func rel(path string) string { return strings.TrimPrefix(path, "/") }

func (x *session) linkTarget(path string) string { return x.path(currentLink + "/" + rootDir + path) }

// look says what lies at e's real path. Several manifests may have it; a copy is ours
// if it is as any of them says.
func (x *session) look(path string, as ...render.Entry) (found, error) {
	fi, err := x.host.root.Lstat(rel(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	case err != nil:
		return stuck, trouble(x.host.path(path), err)
	case fi.Mode()&fs.ModeSymlink != 0:
		t, err := x.host.root.Readlink(rel(path))
		if err != nil {
			return stuck, trouble(x.host.path(path), err)
		}
		if !copied(path) && t == x.linkTarget(path) {
			return ours, nil
		}
		return foreign, nil
	case !fi.Mode().IsRegular():
		return stuck, nil
	case !copied(path):
		return foreign, nil
	}
	for _, e := range as {
		if problem, err := differs(x.host, rel(path), e); err == nil && problem == "" {
			return ours, nil
		}
	}
	return foreign, nil
}

// differs says how the regular file name differs from what e promises; "" if it doesn't.
func differs(p *place, name string, e render.Entry) (string, error) {
	fi, err := p.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "missing", nil
	case err != nil:
		return "", trouble(p.path(name), err)
	case fi.Mode()&fs.ModeSymlink != 0:
		return "replaced by a link", nil
	case !fi.Mode().IsRegular():
		return "replaced by what is no file", nil
	case fi.Size() != int64(e.Size):
		return "changed by hand", nil
	}
	b, err := p.read(name, int64(e.Size))
	if err != nil {
		return "", err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != e.SHA256 {
		return "changed by hand", nil
	}
	want := ownerAttr(e.Owner, fs.FileMode(e.Mode))
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	if fi.Mode()&bits != want.mode {
		return fmt.Sprintf("mode is %04o, not %04o", fi.Mode().Perm(), want.mode), nil
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && want.uid >= 0 && (int(st.Uid) != want.uid || int(st.Gid) != want.gid) {
		return fmt.Sprintf("owner is %d:%d, not %d:%d", st.Uid, st.Gid, want.uid, want.gid), nil
	}
	return "", nil
}

// survey finds what the way from from to to takes of the host, and keeps it. Nothing
// is replaced yet.
func (x *session) survey(from, to *render.Manifest) (taken, error) {
	var t taken
	for _, e := range to.Files {
		before, had := entryOf(from, e.Path)
		as := []render.Entry{e}
		if had {
			as = append(as, before)
		}
		is, err := x.look(e.Path, as...)
		if err != nil {
			return t, err
		}
		switch is {
		case stuck:
			return t, fmt.Errorf("%s is to be a file of SVM, but is a directory or device: move it away", x.host.path(e.Path))
		case absent:
			for _, d := range x.missingDirs(e.Path) {
				if !slices.Contains(t.Dirs, d) {
					t.Dirs = append(t.Dirs, d)
				}
			}
		case foreign:
			kept, err := x.keep(x.host, rel(e.Path), e.Path)
			if err != nil {
				return t, err
			}
			if !had {
				t.Files = append(t.Files, takenFile{e.Path, kept})
			}
		}
	}
	return t, nil
}

func (x *session) missingDirs(path string) []string {
	var dirs []string
	for d := filepath.Dir(rel(path)); d != "."; d = filepath.Dir(d) {
		if _, err := x.host.root.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dirs = append(dirs, d)
	}
	slices.Reverse(dirs)
	return dirs
}

func entryOf(m *render.Manifest, path string) (render.Entry, bool) {
	if m != nil {
		for _, e := range m.Files {
			if e.Path == path {
				return e, true
			}
		}
	}
	return render.Entry{}, false
}

// prepare makes links where nothing is yet. Until the swap they lead nowhere: for
// whoever opens them there is still nothing.
func (x *session) prepare(to *render.Manifest) error {
	for _, e := range to.Files {
		if is, err := x.look(e.Path, e); err != nil {
			return err
		} else if is != absent || copied(e.Path) {
			continue
		}
		if err := x.put(to.Generation, e); err != nil {
			return err
		}
	}
	return nil
}

// install makes every real path of to what it must be, after the swap.
func (x *session) install(to *render.Manifest) error {
	for _, e := range to.Files {
		is, err := x.look(e.Path, e)
		switch {
		case err != nil:
			return err
		case is == stuck:
			return fmt.Errorf("%s is to be a file of SVM, but is a directory or device: move it away", x.host.path(e.Path))
		case is != ours:
			if err := x.put(to.Generation, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// put puts e's link or copy at its real path.
func (x *session) put(gen uint64, e render.Entry) error {
	if err := mkdirs(x.host, rel(e.Path)); err != nil {
		return err
	}
	if !copied(e.Path) {
		return x.host.link(x.linkTarget(e.Path), rel(e.Path))
	}
	b, err := x.dir.read(filepath.Join(genName(gen), rootDir, rel(e.Path)), int64(e.Size))
	if err != nil {
		return err
	}
	return x.host.replace(rel(e.Path), b, ownerAttr(e.Owner, fs.FileMode(e.Mode)))
}

// remove takes away the links and copies of gone that keep doesn't have. A copy that
// was changed by hand is kept first; what isn't ours any more stays.
func (x *session) remove(keep, gone *render.Manifest) error {
	if gone == nil {
		return nil
	}
	var errs []error
	for _, e := range gone.Files {
		if _, stays := entryOf(keep, e.Path); stays {
			continue
		}
		is, err := x.look(e.Path, e)
		if err == nil && is == foreign && copied(e.Path) {
			_, err = x.keep(x.host, rel(e.Path), e.Path)
			is = ours
		}
		if err == nil && is == ours {
			err = x.host.drop(rel(e.Path))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// giveBack puts back what was taken, where ours has gone.
func (x *session) giveBack(t taken) error {
	var errs []error
	for _, f := range t.Files {
		errs = append(errs, x.restore(f))
	}
	for _, d := range slices.Backward(t.Dirs) {
		if err := x.host.drop(d); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
