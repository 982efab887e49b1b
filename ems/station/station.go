// Package station keeps the state of a management station in one directory: its keys,
// the public keys of the machines, and every generation that it ever made.
//
// What is on disk is readable after a crash at any instant: files are replaced by
// rename, a generation comes into being by the rename of a whole directory, and both are
// synced before they are relied on. One process at a time may change the state; it holds
// Lock. Reading needs no lock.
//
//	station.key, station.pub   minisign: what generations are signed with
//	ssh/id_ed25519[.pub]       the station's way to the directors
//	secrets/ha.key             the pair's key
//	secrets/relay/NAME         director NAME's way to the real servers
//	roster.json                public keys of the machines, as of today
//	generations/0000000001/    cluster.yaml, roster.json, meta.json, bundle.json,
//	                           bundle.json.minisig, and medium.age after an image
//	push.json                  the running or last push, machine by machine
//	lock                       whose turn it is
package station

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/svm-cluster/svm/ems/bundle"
)

// DefaultDir is where a station keeps its state.
const DefaultDir = "/var/lib/svm-ems"

const (
	keyFile     = "station.key"
	pubFile     = "station.pub"
	sshDir      = "ssh"
	sshFile     = "ssh/id_ed25519"
	sshPubFile  = "ssh/id_ed25519.pub"
	secretsDir  = "secrets"
	haFile      = "secrets/ha.key"
	relayDir    = "secrets/relay"
	rosterFile  = "roster.json"
	generations = "generations"
	journalFile = "push.json"
	lockFile    = "lock"
	tmpPrefix   = ".tmp-"
)

// ErrNotInit says that a directory holds no station.
var ErrNotInit = errors.New("no station here")

// Station is one state directory. Its methods may be called by several goroutines;
// those that change it want Lock to be held.
type Station struct {
	dir    string
	public string // minisign public key, the base64 line

	mu   sync.Mutex
	held *Lock
}

// Open reads the station in dir. It changes nothing. Secret keys are read when they are
// used, but what others could read of them is refused here, with the command that mends
// it.
func Open(dir string) (*Station, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	s := &Station{dir: dir}
	switch pub, err := os.ReadFile(s.path(pubFile)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w: svm-ems init makes one, svm-ems restore brings one back", dir, ErrNotInit)
	case err != nil:
		return nil, fmt.Errorf("state directory: %w", err)
	default:
		if s.public, err = publicLine(pub); err != nil {
			return nil, fmt.Errorf("%s: %w", s.path(pubFile), err)
		}
	}
	if err := s.private(); err != nil {
		return nil, err
	}
	switch all, err := s.numbers(); {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, fmt.Errorf("%s: %w: svm-ems init was interrupted; run it again", dir, ErrNotInit)
	}
	return s, nil
}

// Dir is the state directory's absolute path.
func (s *Station) Dir() string { return s.dir }

// PublicKey is the minisign public key's line, as machines pin it.
func (s *Station) PublicKey() string { return s.public }

func (s *Station) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// private refuses a directory or keys that others may read.
func (s *Station) private() error {
	for _, name := range []string{".", secretsDir, relayDir, sshDir, keyFile, sshFile, haFile} {
		info, err := os.Stat(s.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist) && (name == haFile || name == relayDir || name == secretsDir):
			continue
		case err != nil:
			return fmt.Errorf("state directory: %w: it is damaged; svm-ems restore brings a backup back", err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("%s: mode is %04o, others may look into it: chmod go= %[1]s, and think of who may have read it",
				s.path(name), info.Mode().Perm())
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
			return fmt.Errorf("%s: belongs to user %d, who could change it: chown it to yours", s.path(name), st.Uid)
		}
	}
	return nil
}

// publicLine takes the key's line out of a minisign .pub file.
func publicLine(pub []byte) (string, error) {
	for line := range strings.Lines(string(pub)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "untrusted comment:") {
			return line, nil
		}
	}
	return "", errors.New("no minisign public key in it")
}

// key reads the signing key.
func (s *Station) key() (*bundle.Key, error) {
	text, err := os.ReadFile(s.path(keyFile))
	if err != nil {
		return nil, fmt.Errorf("the station's key: %w", err)
	}
	k, err := bundle.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(keyFile), err)
	}
	if k.Public() != s.public {
		return nil, fmt.Errorf("%s is not the other half of %s: restore both from one backup", s.path(keyFile), pubFile)
	}
	return k, nil
}
