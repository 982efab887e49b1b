package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Target is where an image goes.
type Target struct {
	Path string // a file, made or replaced whole (mode 0600), or a block device
	Size Size
	// Force overwrites a device that holds something else. One that is in use is
	// refused all the same.
	Force bool
}

// WriteImage makes a FAT image of m at path, byte for byte the same each time.
func WriteImage(path string, size Size, m Medium) error {
	return Target{Path: path, Size: size}.Write(m)
}

// Write makes a FAT image of m and puts it there, durably. A file is replaced in one
// step or not at all. A device is written over from its start; what was on it is lost.
func (t Target) Write(m Medium) error {
	img, err := Image(t.Size, m)
	if err != nil {
		return err
	}
	fi, err := os.Stat(t.Path)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && fi.Mode().IsRegular():
		return writeFile(t.Path, img)
	case err != nil:
		return fmt.Errorf("writing an image: %w", err)
	case !isBlock(fi):
		return refuse(NoMedium, t.Path, "give the path of a file or of a block device", "neither a file nor a block device")
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return refuse(NoMedium, t.Path, "give the path of a file", "what kind of device it is isn't known")
	}
	if err := checkIdle("/", t.Path, st.Rdev); err != nil {
		return err
	}
	// O_EXCL on a block device: the kernel refuses one that anybody holds, also mounted
	// in another namespace, and keeps it from being mounted meanwhile.
	f, err := os.OpenFile(t.Path, os.O_RDWR|os.O_EXCL, 0)
	if errors.Is(err, syscall.EBUSY) {
		return refuse(MediumInUse, t.Path, "unmount it", "the kernel says that it is mounted or part of something")
	} else if err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	return errors.Join(writeDevice(t.Path, f, img, t.Force), f.Close())
}

func writeFile(path string, img []byte) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link stays, what it points to is replaced
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".svm-image-*") // 0600
	if err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("writing an image: %w", err)
		}
	}()
	if _, err = f.Write(img); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// device is what writeDevice needs of an *os.File.
type device interface {
	io.ReaderAt
	io.WriterAt
	io.Seeker
	Sync() error
}

func writeDevice(path string, f device, img []byte, force bool) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	if size < int64(len(img)) {
		return refuse(MediumTooSmall, path, "use a larger one, or write a floppy image if that is large enough", "%d bytes, the image has %d", size, len(img))
	}
	if err := checkDisposable(path, f, size); err != nil && !force {
		return err
	}
	// The first sector goes last: a medium that was pulled out half-written is none.
	if _, err := f.WriteAt(make([]byte, 512), 0); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	if _, err := f.WriteAt(img[512:], 512); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	if _, err := f.WriteAt(img[:512], 0); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	return nil
}

// checkDisposable refuses a device that holds anything but zeros, an empty FAT volume
// or an older medium of ours.
func checkDisposable(path string, r io.ReaderAt, size int64) error {
	const force = "look what it is; --force overwrites it"
	v, err := openVolume(r, size)
	if err != nil {
		start := make([]byte, min(size, 1<<20))
		if _, err := r.ReadAt(start, 0); err != nil && err != io.EOF {
			return fmt.Errorf("writing an image: %w", err)
		}
		if len(bytes.Trim(start, "\x00")) == 0 {
			return nil
		}
		return refuse(MediumNotOurs, path, force, "neither zeros nor a FAT file system (a partition table, perhaps)")
	}
	root, err := v.root()
	if err != nil {
		return refuse(MediumNotOurs, path, force, "a FAT file system that can't be read: %w", err)
	}
	if v.label(root) == Label {
		return nil
	}
	for i := range root {
		if root[i].attr&attrVolume == 0 {
			return refuse(MediumNotOurs, path, force, "a FAT file system, label %q, with %.40q and perhaps more", v.label(root), root[i].name)
		}
	}
	return nil
}

// checkIdle says who uses a block device, or a partition of it. root is "/".
func checkIdle(root, path string, rdev uint64) error {
	// The kernel's encoding of a device number, as in <sys/sysmacros.h>.
	major, minor := rdev>>8&0xfff|rdev>>32&^0xfff, rdev&0xff|rdev>>12&^0xff
	number := fmt.Sprintf("%d:%d", major, uint32(minor))
	sys := filepath.Join(root, "sys/dev/block", number)
	users := map[string]string{number: path}
	parts, _ := filepath.Glob(filepath.Join(sys, "*", "partition"))
	for _, p := range parts {
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(p), "dev")); err == nil {
			users[strings.TrimSpace(string(b))] = filepath.Base(filepath.Dir(p))
		}
	}
	for number, name := range users {
		holders, _ := filepath.Glob(filepath.Join(root, "sys/dev/block", number, "holders", "*"))
		if len(holders) > 0 {
			return refuse(MediumInUse, path, "take another device", "%s is part of %s", name, filepath.Base(holders[0]))
		}
	}
	b, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return fmt.Errorf("looking whether %s is mounted: %w", path, err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if name, ok := users[f[2]]; ok {
			return refuse(MediumInUse, path, "umount "+f[4], "%s is mounted at %s", name, f[4])
		}
	}
	return nil
}
