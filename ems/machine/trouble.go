package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// trouble adds to an error of the file system where it was and what mends it.
func trouble(path string, err error) error {
	if err == nil {
		return nil
	}
	var known *troubled
	if errors.As(err, &known) {
		return err
	}
	// The path stands in front, in full; os would say the relative one again.
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return &troubled{path: path, err: err}
}

type troubled struct {
	path string
	err  error
}

func (t *troubled) Unwrap() error { return t.err }

func (t *troubled) Error() string {
	if r := remedy(t.path, t.err); r != "" {
		return fmt.Sprintf("%s: %v: %s", t.path, t.err, r)
	}
	return fmt.Sprintf("%s: %v", t.path, t.err)
}

func remedy(path string, err error) string {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, unix.ENOSPC) && noInodes(dir):
		return "the file system has no inodes left (df -i " + dir + "): remove files there, then do it again"
	case errors.Is(err, unix.ENOSPC):
		return "the disk is full (df -h " + dir + "): make room, then do it again"
	case errors.Is(err, unix.EDQUOT):
		return "the owner's quota is used up: make room, then do it again"
	case errors.Is(err, unix.EROFS):
		return "the file system is read-only: see dmesg for why, then mount -o remount,rw it"
	case errors.Is(err, unix.EIO):
		return "the disk fails: see dmesg; replace it and restore the machine from its medium or the station"
	case errors.Is(err, unix.EACCES):
		return "this must run as root"
	case errors.Is(err, unix.EPERM):
		return "this must run as root, and the file must not be immutable (lsattr " + path + ")"
	case errors.Is(err, unix.ENOTDIR):
		return "a file lies where a directory must be: move it away"
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTEMPTY):
		return "a directory lies where a file must be: move it away"
	case errors.Is(err, unix.ELOOP):
		return "a symbolic link lies where a directory or file must be: replace it"
	case strings.Contains(err.Error(), "path escapes from parent"): // os has no value for it
		return "a symbolic link leads out of where files are delivered: replace it by a directory"
	case errors.Is(err, unix.ENAMETOOLONG):
		return "the name is too long for this file system"
	}
	return ""
}

// noInodes tells a disk without inodes from a full one. File systems without a fixed
// number of inodes have zero of zero.
func noInodes(dir string) bool {
	var st unix.Statfs_t
	for ; ; dir = filepath.Dir(dir) {
		err := unix.Statfs(dir, &st)
		if err == nil {
			return st.Files > 0 && st.Ffree == 0
		}
		if dir == "/" || dir == "." {
			return false
		}
	}
}
