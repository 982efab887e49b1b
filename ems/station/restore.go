package station

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"filippo.io/age"
)

// maxWork bounds the time that a backup may have us spend on its passphrase: 2^20
// rounds, a few seconds and 1 GiB at most.
const maxWork = 20

// Restore unpacks what Backup wrote into dir, which must not be there or be empty. The
// directory appears whole, when all generations in it were found to be what this station
// had signed; after an error there is nothing.
func Restore(dir string, r io.Reader, passphrase string) (_ *Station, err error) {
	from, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, errors.New("the passphrase is empty")
	}
	from.SetMaxWorkFactor(maxWork)
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s isn't empty: a backup is restored into a new directory only; move this one away", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	plain, err := age.Decrypt(r, from)
	var wrong *age.NoIdentityMatchError
	switch {
	case errors.As(err, &wrong):
		return nil, errors.New("wrong passphrase, or the backup's head is damaged")
	case err != nil:
		return nil, fmt.Errorf("no backup, or a damaged one: %w", err)
	}
	tmp := filepath.Join(parent, tmpPrefix+filepath.Base(dir)+"-"+rand.Text()[:8])
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(tmp)
		}
	}()
	if err := unpackAll(tmp, plain); err != nil {
		return nil, err
	}
	restored, err := Open(tmp)
	if err != nil {
		return nil, fmt.Errorf("the backup holds no whole station: %w", err)
	}
	if err := restored.verify(); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); errors.Is(err, syscall.EBUSY) {
		return nil, fmt.Errorf("%s is where a disk is mounted: restore into a directory on it (--state %[1]s/svm-ems)", dir)
	} else if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := syncDir(parent); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return Open(dir)
}

// verify reads all that is there, as it will be needed one day.
func (s *Station) verify() error {
	numbers, err := s.numbers()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if _, err := s.Generation(n); err != nil {
			return err
		}
		if _, _, err := s.Bundle(n); err != nil {
			return err
		}
	}
	if _, err := s.key(); err != nil {
		return err
	}
	if _, err := s.SSHKey(); err != nil {
		return err
	}
	if _, err := s.Roster(); err != nil {
		return err
	}
	_, err = s.Secrets(numbers[len(numbers)-1])
	return err
}

func unpackAll(dir string, plain io.Reader) error {
	zipped, err := gzip.NewReader(plain)
	if err != nil {
		return fmt.Errorf("the backup is damaged: %w", err)
	}
	if err := unpack(dir, tar.NewReader(&io.LimitedReader{R: zipped, N: maxBackup + maxBackupFiles*1024})); err != nil {
		return err
	}
	// To its very end: only there the encryption says that nothing was cut off.
	for _, r := range []io.Reader{zipped, plain} {
		if n, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20)); err != nil {
			return fmt.Errorf("the backup is damaged: %w", err)
		} else if n == 1<<20 {
			return errors.New("the backup is damaged: something is behind its end")
		}
	}
	return nil
}

// unpack writes the archive's files below dir. It takes nothing from it but names that
// a station has, and contents: no links, no modes, no owners.
func unpack(dir string, archive *tar.Reader) error {
	all, total, count := parts(), int64(0), 0
	for {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && count == 0:
			return errors.New("the backup is empty")
		case errors.Is(err, io.EOF):
			return syncTree(dir)
		case err != nil:
			return fmt.Errorf("the backup is damaged: %w", err)
		}
		count++
		if h.Typeflag != tar.TypeReg {
			return fmt.Errorf("the backup holds %.80q, which is no file: it wasn't made by svm-ems backup", h.Name)
		}
		if count == 1 {
			if err := checkHead(h, archive); err != nil {
				return err
			}
			continue
		}
		p, ok := isPart(all, h.Name)
		if !ok {
			return fmt.Errorf("the backup holds %.80q, which is no station's: it wasn't made by svm-ems backup", h.Name)
		}
		total += h.Size
		if h.Size > p.max || total > maxBackup || count > maxBackupFiles {
			return fmt.Errorf("the backup holds too much: %.80q has %d bytes", h.Name, h.Size)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(archive, p.max+1))
		if err != nil {
			return fmt.Errorf("the backup is damaged: %w", err)
		}
		if err := writeNew(path, data, 0o600); errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("the backup holds %.80q twice: it wasn't made by svm-ems backup", h.Name)
		} else if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
}

func checkHead(h *tar.Header, r io.Reader) error {
	const no = "this is no backup of a station"
	if h.Name != backupHeadFile {
		return errors.New(no)
	}
	b, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return fmt.Errorf("the backup is damaged: %w", err)
	}
	var head backupHead
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&head); err != nil {
		return errors.New(no)
	}
	if head.Format != 1 {
		return fmt.Errorf("the backup is of format %d: a newer svm-ems made it, and restores it", head.Format)
	}
	return nil
}

// syncTree makes all directories below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && !strings.HasPrefix(e.Name(), "..") {
			err = syncDir(path)
		}
		return err
	})
}
