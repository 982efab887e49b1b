package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// place is a directory that is worked in: the store, a generation, or the machine's
// root. os.Root walks names part by part (openat, O_NOFOLLOW), so that no link leads
// out of it. What a method has changed is on the disk when it returns: the data of a
// file first, then the name in its directory.
type place struct {
	root *os.Root
	name string // absolute, for messages
}

func openPlace(name string) (*place, error) {
	r, err := os.OpenRoot(name)
	if err != nil {
		return nil, trouble(name, err)
	}
	return &place{root: r, name: name}, nil
}

// sub opens a directory in p, which must be one and no link.
func (p *place) sub(name string) (*place, error) {
	fi, err := p.root.Lstat(name)
	switch {
	case err != nil:
		return nil, trouble(p.path(name), err)
	case !fi.IsDir():
		return nil, trouble(p.path(name), syscall.ENOTDIR)
	}
	r, err := p.root.OpenRoot(name)
	if err != nil {
		return nil, trouble(p.path(name), err)
	}
	return &place{root: r, name: p.path(name)}, nil
}

func (p *place) close() { _ = p.root.Close() }

func (p *place) path(name string) string { return filepath.Join(p.name, name) }

// attr is what a file is besides its contents; uid and gid below 0 stay as they are.
type attr struct {
	mode     fs.FileMode
	uid, gid int
	mtime    time.Time // zero: now
}

// create writes a file that isn't there yet. Its directory is not yet synced.
func (p *place) create(name string, data []byte, a attr) error {
	f, err := p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return trouble(p.path(name), err)
	}
	err = fill(f, data, a)
	if err = errors.Join(err, f.Close()); err != nil {
		return trouble(p.path(name), err)
	}
	if !a.mtime.IsZero() {
		err = p.root.Chtimes(name, a.mtime, a.mtime)
	}
	return trouble(p.path(name), err)
}

// fill writes f and syncs it. The owner comes before the mode, so that a secret is at
// no time another's to read.
func fill(f *os.File, data []byte, a attr) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	if a.uid >= 0 || a.gid >= 0 {
		if err := f.Chown(a.uid, a.gid); err != nil {
			return err
		}
	}
	if err := f.Chmod(a.mode); err != nil {
		return err
	}
	return f.Sync()
}

// temp is where name is written before it is renamed: in the same directory, hidden
// from those who read all of it (systemd, sysctl).
func temp(name string) string {
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".svm-new")
}

// replace puts a file at name, in one step for whoever looks.
func (p *place) replace(name string, data []byte, a attr) error {
	t := temp(name)
	if err := p.drop(t); err != nil {
		return err
	}
	if err := p.create(t, data, a); err != nil {
		return errors.Join(err, p.drop(t)) // the room is given back
	}
	return p.rename(t, name)
}

// link puts a symbolic link at name, in one step for whoever looks.
func (p *place) link(target, name string) error {
	t := temp(name)
	if err := p.drop(t); err != nil {
		return err
	}
	if err := p.root.Symlink(target, t); err != nil {
		return trouble(p.path(name), linkError(err))
	}
	return p.rename(t, name)
}

func (p *place) rename(from, to string) error {
	if err := p.root.Rename(from, to); err != nil {
		return errors.Join(trouble(p.path(to), linkError(err)), p.drop(from))
	}
	return p.sync(filepath.Dir(to))
}

// sync makes what was made, renamed or removed in the directory durable.
func (p *place) sync(dir string) error {
	d, err := p.root.Open(dir)
	if err != nil {
		return trouble(p.path(dir), err)
	}
	return trouble(p.path(dir), errors.Join(d.Sync(), d.Close()))
}

// mkdir makes dir, not what is above it. It is no error that it is there already.
func (p *place) mkdir(dir string, mode fs.FileMode) error {
	err := p.root.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		fi, err := p.root.Lstat(dir)
		if err == nil && !fi.IsDir() {
			err = syscall.ENOTDIR
		}
		return trouble(p.path(dir), err)
	}
	if err == nil {
		err = p.root.Chmod(dir, mode) // whatever the umask
	}
	if err != nil {
		return trouble(p.path(dir), err)
	}
	return p.sync(filepath.Dir(dir))
}

// drop removes a file, link or empty directory. It is no error that there is none.
func (p *place) drop(name string) error {
	err := p.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return trouble(p.path(name), err)
	}
	return p.sync(filepath.Dir(name))
}

// dropTree removes a directory with all that is in it. It gets a name that nothing
// refers to first, so that no half of it is ever found under the right one.
func (p *place) dropTree(name string) error {
	if _, err := p.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if filepath.Ext(name) != tmpSuffix {
		t := name + tmpSuffix
		if err := p.root.RemoveAll(t); err != nil {
			return trouble(p.path(t), err)
		}
		if err := p.rename(name, t); err != nil {
			return err
		}
		name = t
	}
	if err := p.root.RemoveAll(name); err != nil {
		return trouble(p.path(name), err)
	}
	return p.sync(filepath.Dir(name))
}

// read reads a regular file of at most limit bytes.
func (p *place) read(name string, limit int64) ([]byte, error) {
	f, err := p.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, trouble(p.path(name), err)
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
	case !fi.Mode().IsRegular():
		err = errors.New("not a regular file: move it away")
	case fi.Size() > limit:
		err = fmt.Errorf("%d bytes: more than %d are not expected here", fi.Size(), limit)
	}
	if err != nil {
		return nil, trouble(p.path(name), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return b, trouble(p.path(name), err)
}

// linkError takes the names out of an os.LinkError: trouble says them.
func linkError(err error) error {
	var le *os.LinkError
	if errors.As(err, &le) {
		return fmt.Errorf("%s: %w", le.Op, le.Err)
	}
	return err
}
