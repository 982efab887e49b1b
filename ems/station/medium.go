package station

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/render"
)

// Medium is what an image of generation n holds. With a passphrase the directors'
// secrets are on it, sealed with it, so that a machine without a key of its own can
// begin with it; an empty passphrase leaves them out. What was sealed is kept, so that
// the same image comes out again, byte for byte, until a secret or the passphrase is
// another one.
func (s *Station) Medium(n uint64, passphrase string) (bundle.Medium, error) {
	raw, sig, err := s.Bundle(n)
	if err != nil {
		return bundle.Medium{}, err
	}
	m := bundle.Medium{Bundle: raw, Signature: sig}
	if passphrase == "" {
		return m, nil
	}
	if err := CheckPassphrase(passphrase); err != nil {
		return bundle.Medium{}, err
	}
	if err := s.locked(); err != nil {
		return bundle.Medium{}, err
	}
	secrets, err := s.Secrets(n)
	if err != nil {
		return bundle.Medium{}, err
	}
	path := filepath.Join(s.generationDir(n), mediumFile)
	switch m.Secrets, err = os.ReadFile(path); {
	case err == nil:
		was, err := bundle.UnsealAll(m.Secrets, passphrase)
		if err == nil && maps.EqualFunc(was, secrets, sameSecrets) {
			return m, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return bundle.Medium{}, fmt.Errorf("medium: %w", err)
	}
	if m.Secrets, err = bundle.SealAll(secrets, passphrase); err != nil {
		return bundle.Medium{}, fmt.Errorf("medium: %w", err)
	}
	if err := writeFile(path, m.Secrets, 0o600); err != nil {
		return bundle.Medium{}, fmt.Errorf("medium: %w", err)
	}
	return m, nil
}

func sameSecrets(a, b render.Secrets) bool {
	return slices.Equal(a.HAKey, b.HAKey) && slices.Equal(a.RelayKey, b.RelayKey)
}

// CheckPassphrase refuses one that is too short to hide anything.
func CheckPassphrase(p string) error {
	if len(p) < bundle.MinPassphrase {
		return fmt.Errorf("a passphrase has %d characters or more; five random words are a good one", bundle.MinPassphrase)
	}
	return nil
}
