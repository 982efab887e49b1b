package station

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// writeFile replaces path by data in one step, durably: whoever reads it finds the old
// contents or the new ones, whole, whenever the machine stops.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	tmp := filepath.Join(dir, tmpPrefix+filepath.Base(path)+"-"+rand.Text()[:8])
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	if err := writeNew(tmp, data, mode); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(dir)
}

// writeNew makes a file that isn't there yet and syncs it; its name isn't synced.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes dir, private, if it isn't there; its name is durable then.
func makeDir(dir string) error {
	switch err := os.Mkdir(dir, 0o700); {
	case errors.Is(err, fs.ErrExist):
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return fmt.Errorf("%s is no directory", dir)
		}
		return nil
	case err != nil:
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// newDir makes a directory below parent with all files in it, under a name that sweep
// takes away, and renames it to name: it is there wholly or not at all.
func newDir(parent, name string, files map[string][]byte) (err error) {
	tmp := filepath.Join(parent, tmpPrefix+name+"-"+rand.Text()[:8])
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(tmp)
		}
	}()
	for file, data := range files {
		if err := writeNew(filepath.Join(tmp, file), data, 0o600); err != nil {
			return err
		}
	}
	if err := syncDir(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(parent, name)); err != nil {
		return err
	}
	return syncDir(parent)
}

// sweep removes what interrupted writes left. Only the lock's holder may call it.
func (s *Station) sweep() error {
	var all []error
	for _, dir := range []string{".", sshDir, secretsDir, relayDir, generations} {
		all = append(all, sweepDir(s.path(dir)))
	}
	list, err := s.numbers()
	if err == nil && len(list) > 0 {
		all = append(all, sweepDir(s.generationDir(list[len(list)-1])))
	}
	return errors.Join(all...)
}

func sweepDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	all := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tmpPrefix) {
			all = append(all, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(all...)
}

// encode is v as JSON that people can read, too.
func encode(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // our own types, without maps of anything or floats
	}
	return append(b, '\n')
}

// readJSON reads what encode wrote. Unknown fields are an error: they'd be lost.
func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}
