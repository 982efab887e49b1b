package station

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/render"
	"golang.org/x/crypto/ssh"
)

// secrets reads or makes the secrets of c's directors. What it makes it puts into fresh,
// by file.
func (s *Station) secrets(c *cluster.Cluster, fresh map[string][]byte) (map[string]render.Secrets, error) {
	var pair []byte
	if c.HA.KeyFile != "" {
		var err error
		if pair, err = s.secret(haFile, fresh, newHAKey); err != nil {
			return nil, err
		}
		if err := checkHAKey(pair); err != nil {
			return nil, fmt.Errorf("%s: %w", s.path(haFile), err)
		}
	}
	all := make(map[string]render.Secrets, len(c.Directors))
	for i := range c.Directors {
		name := c.Directors[i].Name // a DNS label: a safe file name
		relay, err := s.secret(filepath.Join(relayDir, name), fresh, func() ([]byte, error) {
			return newSSHKey("svm relay " + name)
		})
		if err != nil {
			return nil, err
		}
		all[name] = render.Secrets{HAKey: pair, RelayKey: relay}
	}
	return all, nil
}

func (s *Station) secret(file string, fresh map[string][]byte, make func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(s.path(file))
	switch {
	case err == nil:
		return b, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("secret: %w", err)
	}
	if b, err = make(); err == nil {
		fresh[file] = b
	}
	return b, err
}

// Secrets are today's secrets of the directors of generation n's cluster file.
func (s *Station) Secrets(n uint64) (map[string]render.Secrets, error) {
	g, err := s.Generation(n)
	if err != nil {
		return nil, err
	}
	c, err := cluster.Parse(fmt.Sprintf("generation %d", n), g.YAML)
	if err != nil {
		return nil, err
	}
	fresh := map[string][]byte{}
	all, err := s.secrets(c, fresh)
	if err == nil && len(fresh) > 0 {
		return nil, fmt.Errorf("generation %d: %s is missing: svm-ems restore brings a backup back", n, s.path(slices.Sorted(keys(fresh))[0]))
	}
	return all, err
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// keep writes secrets to their files.
func (s *Station) keep(files map[string][]byte) error {
	for _, file := range slices.Sorted(keys(files)) {
		for _, dir := range []string{secretsDir, filepath.Dir(file)} {
			if err := makeDir(s.path(dir)); err != nil {
				return err
			}
		}
		if err := writeFile(s.path(file), files[file], 0o600); err != nil {
			return err
		}
	}
	return nil
}

func newHAKey() ([]byte, error) {
	var k [32]byte
	_, _ = rand.Read(k[:]) // never fails
	return []byte(hex.EncodeToString(k[:]) + "\n"), nil
}

func checkHAKey(b []byte) error {
	k, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(k) != 32 {
		return errors.New("want 64 hex digits") // and not a word of what is there
	}
	return nil
}

// newSSHKey makes an ed25519 key in OpenSSH's format.
func newSSHKey(comment string) ([]byte, error) {
	_, k, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(k, comment)
	if err != nil {
		return nil, fmt.Errorf("make an SSH key: %w", err)
	}
	return pem.EncodeToMemory(block), nil
}

// publicHalf is a private key's line for authorized_keys, without a comment.
func publicHalf(private []byte) (string, error) {
	k, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return "", errors.New("no SSH key in OpenSSH's format") // its errors might quote
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.PublicKey()))), nil
}

// SSHKey is the station's key for the way to the machines.
func (s *Station) SSHKey() (ssh.Signer, error) {
	text, err := s.SSHPrivate()
	if err != nil {
		return nil, err
	}
	k, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: no SSH key in OpenSSH's format", s.path(sshFile))
	}
	return k, nil
}

// SSHPrivate is SSHKey as a PEM text.
func (s *Station) SSHPrivate() ([]byte, error) {
	text, err := os.ReadFile(s.path(sshFile))
	if err != nil {
		return nil, fmt.Errorf("the station's SSH key: %w", err)
	}
	return text, nil
}
