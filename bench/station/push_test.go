package station

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The farm goes from nothing to serving by one push, and follows later ones without
// losing a request.
func TestPush(t *testing.T) {
	f := newFarm(t, 2)
	check(t, f.Init(t.Context(), f.ClusterText("rr", nil, "")))
	check(t, f.Enroll(t.Context()))
	out, err := f.Ems(t.Context(), "push")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	check(t, f.Serving(t.Context()))
	first := f.sameGeneration(t)

	v := f.Visit(t.Context(), 4)
	check(t, f.EMS.Write("/root/cluster.yaml", f.ClusterText("wrr", []int{3, 1}, ""), 0o644))
	out, err = f.Ems(t.Context(), "push", "-m", "more for eps1", "/root/cluster.yaml")
	if err != nil {
		t.Error(err)
	}
	t.Log(out)
	if second := f.sameGeneration(t); second != first+1 {
		t.Errorf("generation %d follows %d", second, first)
	}
	if n, err := v.Leave(); err != nil || n == 0 {
		t.Errorf("%d requests: %v", n, err)
	} else {
		t.Logf("%d requests during a push, none failed", n)
	}

	// A health check that no server passes: its word is waited for, and the farm goes
	// back before a server is taken out of service for good.
	wrong := strings.Replace(f.ClusterText("wrr", []int{3, 1}, ""), "status: 200", "status: 204", 1)
	check(t, f.EMS.Write("/root/cluster.yaml", wrong, 0o644))
	if out, err = f.Ems(t.Context(), "push", "--health-timeout", "2s", "/root/cluster.yaml"); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("a wrong health check: %s %v", out, err)
	}
	if got := f.sameGeneration(t); got != first+1 {
		t.Errorf("generation %d rules after a push that was rolled back, want %d", got, first+1)
	}
	check(t, f.Serving(t.Context()))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var stamped = regexp.MustCompile(`^# svm: cluster [a-z]+, generation ([0-9]+),`)

// sameGeneration fails unless every machine is wholly on the same generation, and
// returns it.
func (f *Farm) sameGeneration(t testing.TB) uint64 {
	t.Helper()
	seen := map[string][]string{}
	for _, m := range f.Machines() {
		g, err := m.generation()
		if err != nil {
			t.Error(err)
		}
		seen[g] = append(seen[g], m.Name())
	}
	if len(seen) != 1 {
		t.Errorf("machines are on different generations: %v", seen)
	}
	for g := range seen {
		n, err := strconv.ParseUint(g, 10, 64)
		check(t, err)
		return n
	}
	return 0
}

// generation is the one that all delivered files of the machine are of, by their stamps.
func (m *Machine) generation() (string, error) {
	files, err := m.delivered()
	if err != nil {
		return "", err
	}
	seen := map[string][]string{}
	for path, text := range files {
		if s := stamped.FindStringSubmatch(text); s != nil {
			seen[s[1]] = append(seen[s[1]], path)
		}
	}
	if len(seen) != 1 {
		return "", fmt.Errorf("%s is not wholly on one generation: %v", m.Name(), seen)
	}
	for g := range seen {
		return g, nil
	}
	return "", nil
}

// delivered are the machine's files below /etc that SVM brought, by their paths.
func (m *Machine) delivered() (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(m.Path("/etc"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(m.Disk, path)
		if err != nil {
			return err
		}
		name = "/" + name
		if !strings.Contains(name, "svm") || slices.Contains([]string{"/etc/svm/station.pub", "/etc/svm/machine.key"}, name) || strings.Contains(name, ".wants/") {
			return nil
		}
		text, err := m.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			text = "(missing)"
		} else if err != nil {
			return err
		}
		files[name] = text
		return nil
	})
	return files, err
}

// read follows the machine's links within its own disk.
func (m *Machine) read(path string) (string, error) {
	for range 10 {
		st, err := os.Lstat(m.Path(path))
		if err != nil {
			// A directory on the way may be a link.
			dir, err2 := m.resolve(filepath.Dir(path))
			if err2 != nil || dir == filepath.Dir(path) {
				return "", err
			}
			path = filepath.Join(dir, filepath.Base(path))
			continue
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			b, err := os.ReadFile(m.Path(path))
			return string(b), err
		}
		to, err := os.Readlink(m.Path(path))
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		if path, err = m.resolve(to); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%s: too many links", path)
}

// resolve replaces links among the directories of a path.
func (m *Machine) resolve(path string) (string, error) {
	done := "/"
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		next := filepath.Join(done, part)
		to, err := os.Readlink(m.Path(next))
		switch {
		case err != nil:
			done = next
		case filepath.IsAbs(to):
			done = to
		default:
			done = filepath.Join(done, to)
		}
	}
	return done, nil
}

// different names the files that two machines' deliveries do not share.
func different(a, b map[string]string) (out []string) {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if x, ok := a[path]; !ok || x != b[path] {
			out = append(out, path)
		}
	}
	return out
}
