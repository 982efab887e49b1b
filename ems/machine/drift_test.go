package machine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// edits are ways of changing delivered files by hand. Generation 1 rules.
var edits = []struct {
	name    string
	do      func(f *farm) error
	path    string
	problem string // part of
	kept    string // contents that must be in adopted/ after the repair
}{
	{"through the link", func(f *farm) error { return os.WriteFile(f.root+clusterFile, []byte("mine\n"), 0o644) },
		clusterFile, "changed by hand", "mine\n"},
	{"same size", func(f *farm) error {
		b, err := os.ReadFile(f.root + clusterFile)
		b[0] ^= 1
		return errors.Join(err, os.WriteFile(f.root+clusterFile, b, 0o644))
	}, clusterFile, "changed by hand", ".etc/svm/cluster.yaml of generation 1\n"},
	{"mode", func(f *farm) error { return os.Chmod(f.root+"/etc/svm/relay.key", 0o644) },
		"/etc/svm/relay.key", "mode is 0644, not 0600", ""},
	{"link replaced by a file", func(f *farm) error {
		return errors.Join(os.Remove(f.root+clusterFile), os.WriteFile(f.root+clusterFile, []byte("mine\n"), 0o640))
	}, clusterFile, "link replaced by a file, changed by hand", "mine\n"},
	{"link replaced by the same file", func(f *farm) error {
		b, err := os.ReadFile(f.root + clusterFile)
		return errors.Join(err, os.Remove(f.root+clusterFile), os.WriteFile(f.root+clusterFile, b, 0o644))
	}, clusterFile, "link replaced by a file", ""},
	{"link elsewhere", func(f *farm) error {
		return errors.Join(os.Remove(f.root+clusterFile), os.Symlink("/dev/null", f.root+clusterFile))
	}, clusterFile, "link points to /dev/null", ""},
	{"link gone", func(f *farm) error { return os.Remove(f.root + clusterFile) }, clusterFile, "missing", ""},
	{"its directory gone", func(f *farm) error { return os.RemoveAll(f.root + "/etc/svm") }, clusterFile, "missing", ""},
	{"file gone from the store", func(f *farm) error { return os.Remove(Tree(f.dir, 1) + clusterFile) }, clusterFile, "missing", ""},
	{"link in the store", func(f *farm) error {
		p := Tree(f.dir, 1) + clusterFile
		return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p))
	}, clusterFile, "replaced by a link", ""},
	{"directory in the store", func(f *farm) error {
		p := Tree(f.dir, 1) + clusterFile
		return errors.Join(os.Remove(p), os.Mkdir(p, 0o700))
	}, clusterFile, "replaced by what is no file", ""},
	{"the store's tree leads out", func(f *farm) error {
		p := filepath.Join(Tree(f.dir, 1), "etc/svm")
		return errors.Join(os.Rename(p, f.base+"/moved"), os.Symlink(f.base+"/moved", p))
	}, clusterFile, "its directory was replaced", ""},
	{"copy changed", func(f *farm) error {
		return os.WriteFile(f.root+unitDir+"svm-fwd.service", []byte("mine\n"), 0o644)
	}, unitDir + "svm-fwd.service", "changed by hand", "mine\n"},
	{"copy's mode", func(f *farm) error { return os.Chmod(f.root+unitDir+"svm-fwd.service", 0o755) },
		unitDir + "svm-fwd.service", "mode is 0755, not 0644", ""},
	{"copy masked", func(f *farm) error {
		p := f.root + unitDir + "svm-fwd.service"
		return errors.Join(os.Remove(p), os.Symlink("/dev/null", p))
	}, unitDir + "svm-fwd.service", "replaced by a link", ""},
	{"copy gone", func(f *farm) error { return os.Remove(f.root + unitDir + "svm-fwd.service") },
		unitDir + "svm-fwd.service", "missing", ""},
	{"current leads elsewhere", func(f *farm) error {
		return errors.Join(os.Remove(f.dir+"/current"), os.Symlink(genName(9), f.dir+"/current"))
	}, "/current", "doesn't point to generation 1", ""},
}

// Drift is named, mended by Repair or by the next generation, and what was written by
// hand is kept; the way back to an edited generation leads to what was delivered.
func TestDrift(t *testing.T) {
	for _, e := range edits {
		for _, how := range []string{"repair", "push", "rollback"} {
			t.Run(e.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				f := farmIn(t, shm(t))
				f.push(t, 1)
				if err := e.do(f); err != nil {
					t.Fatal(err)
				}
				st, err := f.s.State(ctx)
				if err != nil {
					t.Fatal(err)
				}
				found := false
				for _, d := range st.Drift {
					found = found || strings.HasSuffix(d.Path, e.path) && strings.Contains(d.Problem, e.problem)
				}
				if !found {
					t.Errorf("drift is %v, want %s: %s", st.Drift, e.path, e.problem)
				}
				switch how {
				case "repair":
					calls := len(f.act.calls)
					f.step(t, 1, "repair")
					f.want(t, 1, Settled)
					if n := len(f.act.calls) - calls; n != 1 {
						t.Errorf("the Activator was called %d times", n)
					}
					f.step(t, 1, "repair") // nothing to do
					if n := len(f.act.calls) - calls; n != 1 {
						t.Errorf("the Activator was called %d times", n)
					}
				case "push":
					f.push(t, 2)
					f.want(t, 2, Settled)
				case "rollback":
					f.step(t, 2, "stage", "switch", "rollback")
					f.want(t, 1, Settled)
				}
				if e.kept != "" && !f.kept(t, e.path, e.kept) {
					t.Errorf("%q wasn't kept", e.kept)
				}
			})
		}
	}
}

// kept tells whether a copy of path in adopted/ has these contents.
func (f *farm) kept(t *testing.T, path, text string) bool {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(f.dir, adoptedDir, path) + "~*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if b, err := os.ReadFile(name); err == nil && string(b) == text {
			return true
		}
	}
	return false
}

// Where the copy for repairs is damaged, too, the error says what to do.
func TestBeyondRepair(t *testing.T) {
	f := newFarm(t)
	f.push(t, 1)
	for _, text := range []string{"{}", "{", ""} {
		if err := errors.Join(os.WriteFile(f.root+clusterFile, []byte("mine"), 0o644),
			os.WriteFile(filepath.Join(f.dir, genName(1), configFile), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		err := f.do("repair", 0)
		if err == nil || !strings.Contains(err.Error(), "push a new generation") || strings.Contains(err.Error(), "%!") {
			t.Errorf("%v", err)
		}
	}
	f.push(t, 2)
	f.want(t, 2, Settled)
}
