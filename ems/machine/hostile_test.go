package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/render"
)

func TestRefusedConfigs(t *testing.T) {
	f := newFarm(t)
	f.push(t, 1)
	path := func(p string) func(*render.Config) {
		return func(c *render.Config) {
			c.Files = []render.File{{Path: p, Mode: 0o644}}
		}
	}
	for name, spoil := range map[string]func(*render.Config){
		"generation 0":     func(c *render.Config) { c.Generation = 0 },
		"no files":         func(c *render.Config) { c.Files = nil },
		"relative":         path("etc/svm/x"),
		"parent":           path("/etc/svm/../passwd"),
		"parents":          path("/../../etc/svm/x"),
		"not clean":        path("/etc//svm/x"),
		"dot":              path("/etc/svm/./x"),
		"slash at the end": path("/etc/svm/x/"),
		"root":             path("/"),
		"empty":            path(""),
		"NUL":              path("/etc/svm/x\x00y"),
		"newline":          path("/etc/svm/x\ny"),
		"not UTF-8":        path("/etc/svm/\xff"),
		"backslash":        path(`/etc/svm/..\x`),
		"long path":        path("/etc/svm/" + strings.Repeat("x/", 600) + "x"),
		"long name":        path("/etc/svm/" + strings.Repeat("x", 250)),
		"a name of ours":   path("/etc/svm/.x.svm-new"),
		"elsewhere":        path("/etc/passwd"),
		"pinned":           path("/etc/svm/station.pub"),
		"setuid":           func(c *render.Config) { c.Files[0].Mode |= fs.ModeSetuid },
		"a directory":      func(c *render.Config) { c.Files[0].Mode |= fs.ModeDir },
		"a link":           func(c *render.Config) { c.Files[0].Mode |= fs.ModeSymlink },
		"twice":            func(c *render.Config) { c.Files = append(c.Files, c.Files[0]) },
		"below a file":     func(c *render.Config) { c.Files = append(c.Files, render.File{Path: clusterFile + "/x", Mode: 0o644}) },
		"too many":         func(c *render.Config) { c.Files = many(maxFiles + 1) },
		"too big":          func(c *render.Config) { c.Files[0].Data = make([]byte, maxFile+1) },
		"too big together": func(c *render.Config) { c.Files = many(maxTotal/maxFile + 1); fat(c.Files) },
		"unknown owner":    func(c *render.Config) { c.Files[0].Owner = "nobody" },
		"secret for all":   func(c *render.Config) { c.Files[0].Secret = true },
		"a cluster's name": func(c *render.Config) { c.Cluster = "../shop" },
		"a node's name":    func(c *render.Config) { c.Node = "" },
		"a kind":           func(c *render.Config) { c.Kind = "both" },
		"digest":           func(c *render.Config) { c.Digest = "x" },
	} {
		c := config(2)
		spoil(c)
		if err := f.s.Stage(ctx, c, Proof{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want it refused", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	for name, p := range map[string]Proof{
		"another's manifest": {Manifest: config(4).Manifest().Encode()},
		"no manifest":        {Manifest: []byte("{}")},
		"a huge bundle":      {Bundle: make([]byte, maxProof+1)},
	} {
		if err := f.s.Stage(ctx, config(2), p); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	f.want(t, 1, Settled)
}

func many(n int) []render.File {
	var all []render.File
	for i := range n {
		all = append(all, render.File{Path: fmt.Sprintf("/etc/svm/%05d", i), Mode: 0o644})
	}
	return all
}

func fat(files []render.File) {
	data := make([]byte, maxFile)
	for i := range files {
		files[i].Data = data
	}
}

// A store below the root must not be written into by what is delivered.
func TestNotIntoTheStore(t *testing.T) {
	base := t.TempDir()
	f := &farm{base: base, root: base, dir: filepath.Join(base, "etc/svm")}
	f.act = &fake{f: f}
	f.open(t)
	if err := f.do("stage", 1); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "configuration store") {
		t.Errorf("%v", err)
	}
}

// What stands in the way on the host: nothing is switched, and the error says what to do.
func TestInTheWay(t *testing.T) {
	for name, tc := range map[string]struct {
		put  func(f *farm) error
		want string
	}{
		"directory":         {func(f *farm) error { return os.MkdirAll(f.root+clusterFile, 0o755) }, "move it away"},
		"file as directory": {func(f *farm) error { return os.WriteFile(f.root+"/etc/svm", nil, 0o644) }, "a file lies where a directory must be"},
		"link out":          {func(f *farm) error { return os.Symlink(f.base, f.root+"/etc/svm") }, "a symbolic link leads out"},
		"link up":           {func(f *farm) error { return os.Symlink("../..", f.root+"/etc/svm") }, "a symbolic link leads out"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t)
			if err := tc.put(f); err != nil {
				t.Fatal(err)
			}
			err := f.do("stage", 1)
			if err == nil {
				err = f.do("switch", 1)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			t.Log(err)
			if st, err := f.s.State(ctx); err != nil || st.Current != nil {
				t.Errorf("%+v, %v", st, err)
			}
			if _, err := os.Lstat(f.base + "/cluster.yaml"); err == nil {
				t.Error("it was written outside of the root")
			}
		})
	}
}

// A store whose own directories were replaced is not walked out of.
func TestStoreLeadsOut(t *testing.T) {
	for _, dir := range []string{generationsDir, adoptedDir} {
		f := newFarm(t)
		f.push(t, 1)
		out := t.TempDir()
		if err := errors.Join(os.RemoveAll(filepath.Join(f.dir, dir)), os.Symlink(out, filepath.Join(f.dir, dir))); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.root+unitDir+"svm-fwd.service", []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := f.do("stage", 2)
		if err == nil {
			err = f.do("switch", 2)
		}
		if err == nil {
			t.Errorf("%s leads out and nobody minds", dir)
		}
		t.Log(err)
		if _, err := Open(Config{Root: f.root, Dir: f.dir, Activator: f.act}); err == nil {
			t.Errorf("%s leads out and the store opens", dir)
		}
		if left, _ := os.ReadDir(out); len(left) != 0 {
			t.Errorf("written outside of the store: %v", left)
		}
	}
}

func TestDamagedRecord(t *testing.T) {
	f := newFarm(t)
	f.push(t, 3)
	name := filepath.Join(f.dir, recordFile)
	for _, text := range []string{"", "{", `{"format": 2}`, `{"format": 1, "confirmed": -1}`} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := f.s.State(ctx); err == nil || !strings.Contains(err.Error(), recordFile) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Root: f.root, Dir: f.dir, Activator: f.act}); err == nil {
		t.Error("a store that forgot what it confirmed opens")
	}
	same(t, f.onHost(t), filesOf(3))
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []Config{
		{Root: "/", Dir: dir},
		{Root: "/", Dir: "store", Activator: &fake{}},
		{Root: "", Dir: dir, Activator: &fake{}},
	} {
		if _, err := Open(c); err == nil {
			t.Errorf("%+v opens", c)
		}
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Root: "/", Dir: dir + "/file/store", Activator: &fake{}}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}
