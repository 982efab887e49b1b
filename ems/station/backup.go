package station

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"filippo.io/age"
	"github.com/svm-cluster/svm/ems/bundle"
)

// Limits of a backup, as it is when unpacked.
const (
	maxBackup      = 2 << 30 // bytes
	maxBackupFiles = 200_000
)

// backupHead is a backup's first file.
type backupHead struct {
	Format     int       `json:"format"` // 1
	Cluster    string    `json:"cluster"`
	Generation uint64    `json:"generation"`
	Time       time.Time `json:"time"`
}

const backupHeadFile = "svm-ems-backup.json"

// part is one kind of file that belongs to a station.
type part struct {
	name *regexp.Regexp
	max  int64 // bytes
}

// parts are all files that a backup holds; whatever else lies in the directory isn't
// the station's, and whatever else lies in a backup is no backup's.
func parts() []part {
	return []part{
		{regexp.MustCompile(`^(station\.key|station\.pub|ssh/id_ed25519|ssh/id_ed25519\.pub|secrets/ha\.key)$`), 64 << 10},
		{regexp.MustCompile(`^secrets/relay/[a-z0-9-]{1,63}$`), 64 << 10},
		{regexp.MustCompile(`^(roster\.json|push\.json)$`), bundle.MaxBundle},
		{regexp.MustCompile(`^generations/[0-9]{10}/(cluster\.yaml|roster\.json|meta\.json|bundle\.json\.minisig|medium\.age|bundle\.json)$`), bundle.MaxBundle},
	}
}

func isPart(all []part, name string) (part, bool) {
	for _, p := range all {
		if p.name.MatchString(name) {
			return p, true
		}
	}
	return part{}, false
}

// Backup writes the whole station to w, encrypted with age by the passphrase: whoever
// has both has the station's keys. The lock must be held.
func (s *Station) Backup(w io.Writer, passphrase string) error {
	if err := CheckPassphrase(passphrase); err != nil {
		return err
	}
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return s.backup(w, to)
}

func (s *Station) backup(w io.Writer, to age.Recipient) error {
	if err := s.locked(); err != nil {
		return err
	}
	newest, err := s.Newest()
	if err != nil {
		return err
	}
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	zipped := gzip.NewWriter(sealed)
	archive := tar.NewWriter(zipped)
	head := encode(backupHead{
		Format: 1, Cluster: newest.Cluster, Generation: newest.Stamp.Generation, Time: time.Now().UTC().Truncate(time.Second),
	})
	err = archive.WriteHeader(&tar.Header{Name: backupHeadFile, Mode: 0o600, Size: int64(len(head))})
	if err == nil {
		_, err = archive.Write(head)
	}
	if err == nil {
		err = s.pack(archive)
	}
	if err = errors.Join(err, archive.Close(), zipped.Close(), sealed.Close()); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// pack adds all parts that are there.
func (s *Station) pack(archive *tar.Writer) error {
	all, total, count := parts(), int64(0), 0
	return filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		p, ok := isPart(all, filepath.ToSlash(name))
		if !ok {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		total, count = total+int64(len(data)), count+1
		if int64(len(data)) > p.max || total > maxBackup || count >= maxBackupFiles {
			return fmt.Errorf("%s: a backup holds %d files and %d bytes at most: move the oldest of %s away",
				name, maxBackupFiles, int64(maxBackup), s.path(generations))
		}
		if err := archive.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	})
}
