package station

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/render"
)

// InitConfig is what a new station begins with.
type InitConfig struct {
	Dir  string // made, with mode 0700, if it isn't there; empty otherwise
	Name string // of the cluster file, for messages
	YAML []byte // the first generation
	// HAKey is the key of a pair that runs already, 64 hex digits; empty: a new one is
	// made if the cluster file has ha.key_file.
	HAKey []byte
	User  string // for the lock
	Change
}

// Init makes a station: its keys, and generation 1. If it is interrupted, the same call
// ends it: keys that are there are kept. A directory that holds a station, or something
// else, is refused.
func Init(ctx context.Context, cfg InitConfig) (*Station, error) {
	if _, err := cluster.Parse(cfg.Name, cfg.YAML); err != nil {
		return nil, err
	}
	if len(cfg.HAKey) > 0 {
		if err := checkHAKey(cfg.HAKey); err != nil {
			return nil, fmt.Errorf("the pair's key: %w", err)
		}
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	s := &Station{dir: dir}
	if err := s.claim(); err != nil {
		return nil, err
	}
	l, err := acquire(ctx, s.path(lockFile), cfg.User, "svm-ems init", 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	l.s, s.held = s, l
	err = s.init(&cfg)
	if err = errors.Join(err, l.Release()); err != nil {
		return nil, err
	}
	return Open(dir)
}

// claim makes the directory, or makes sure that the one that is there may be ours.
func (s *Station) claim() error {
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o755); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if err := makeDir(s.dir); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, e := range entries {
		switch name := e.Name(); name {
		case lockFile, keyFile, pubFile, sshDir, secretsDir, rosterFile, generations:
		default:
			if !strings.HasPrefix(name, tmpPrefix) {
				return fmt.Errorf("%s holds %q and is no station's: give an empty directory", s.dir, name)
			}
		}
	}
	numbers, err := s.numbers()
	if err != nil {
		return err
	}
	if n := len(numbers); n > 0 {
		return fmt.Errorf("%s is a station already, with generation %d: svm-ems commit makes the next one", s.dir, numbers[n-1])
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

func (s *Station) init(cfg *InitConfig) error {
	if err := s.sweep(); err != nil {
		return err
	}
	for _, dir := range []string{sshDir, secretsDir, relayDir, generations} {
		if err := makeDir(s.path(dir)); err != nil {
			return err
		}
	}
	signing, err := s.ensure(keyFile, func() ([]byte, error) {
		k, err := bundle.NewKey()
		if err != nil {
			return nil, err
		}
		return k.Encode()
	})
	if err != nil {
		return err
	}
	key, err := bundle.ParseKey(signing)
	if err != nil {
		return fmt.Errorf("%s: %w", s.path(keyFile), err)
	}
	private, err := s.ensure(sshFile, func() ([]byte, error) { return newSSHKey("svm station") })
	if err != nil {
		return err
	}
	public, err := publicHalf(private)
	if err != nil {
		return fmt.Errorf("%s: %w", s.path(sshFile), err)
	}
	s.public = key.Public()
	if len(cfg.HAKey) > 0 {
		if err := writeFile(s.path(haFile), []byte(strings.TrimSpace(string(cfg.HAKey))+"\n"), 0o600); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		file, text string
	}{
		{sshPubFile, public + " svm station\n"},
		{rosterFile, string(encode(render.Roster{StationKey: s.public, StationSSH: public, Machines: []render.Machine{}}))},
		{pubFile, "untrusted comment: minisign public key of an SVM station\n" + s.public + "\n"},
	} {
		if err := writeFile(s.path(f.file), []byte(f.text), 0o600); err != nil {
			return err
		}
	}
	_, _, err = s.Commit(cfg.Name, cfg.YAML, cfg.Change)
	return err
}

// ensure reads a secret file, or makes it.
func (s *Station) ensure(file string, make func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(s.path(file))
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if b, err = make(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(file), err)
	}
	return b, writeFile(s.path(file), b, 0o600)
}
