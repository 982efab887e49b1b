package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// farm is a machine in a directory: its root, its store, and an Activator that notes.
type farm struct {
	base, root, dir string
	act             *fake
	s               *Store
}

func newFarm(t testing.TB) *farm {
	t.Helper()
	return farmIn(t, t.TempDir())
}

func farmIn(t testing.TB, base string) *farm {
	t.Helper()
	f := &farm{base: base, root: filepath.Join(base, "host"), dir: filepath.Join(base, "store")}
	if err := os.MkdirAll(filepath.Join(f.root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.act = &fake{f: f}
	f.open(t)
	return f
}

func (f *farm) open(t testing.TB) {
	t.Helper()
	s, err := Open(Config{Root: f.root, Dir: f.dir, Activator: f.act, LockWait: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	f.s = s
}

// fake notes what it was asked for, and checks that the store keeps its word.
type fake struct {
	f     *farm
	mu    sync.Mutex
	calls []string
	fail  map[string]int // verb to how often
	wrong []string       // broken promises
	ruler string         // what daemons obey: "bare" or the generation
}

func (a *fake) call(verb string, old, now *render.Manifest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, fmt.Sprintf("%s %d %d", verb, gen(old), gen(now)))
	if a.fail[verb] > 0 {
		a.fail[verb]--
		return errors.New(verb + " was told to fail")
	}
	return nil
}

func (a *fake) Check(_ context.Context, c *render.Manifest, dir string) error {
	for _, e := range c.Files {
		if _, err := os.ReadFile(filepath.Join(dir, e.Path)); err != nil {
			a.wrong = append(a.wrong, err.Error())
		}
	}
	return a.call("check", nil, c)
}

func (a *fake) Activate(_ context.Context, old, now *render.Manifest) error {
	for _, m := range []*render.Manifest{old, now} {
		if m != nil {
			if _, err := os.Stat(Tree(a.f.dir, m.Generation)); err != nil {
				a.wrong = append(a.wrong, err.Error())
			}
		}
	}
	if now != nil {
		for _, e := range now.Files {
			if _, err := os.ReadFile(filepath.Join(a.f.root, e.Path)); err != nil {
				a.wrong = append(a.wrong, fmt.Sprintf("at activation: %v", err))
			}
		}
	}
	err := a.call("activate", old, now)
	if err == nil {
		a.ruler = fmt.Sprint(gen(now))
	}
	return err
}

func (a *fake) Settle(_ context.Context, old, now *render.Manifest) error {
	return a.call("settle", old, now)
}

func gen(m *render.Manifest) uint64 {
	if m == nil {
		return 0
	}
	return m.Generation
}

const clusterFile = "/etc/svm/cluster.yaml"

// config is generation g: one file in every generation, a secret, a unit that every
// generation has, a unit and a file that only some have.
func config(g uint64) *render.Config {
	file := func(path string, mode fs.FileMode) render.File {
		return render.File{Path: path, Mode: mode, Secret: mode == 0o600,
			Data: fmt.Appendf(nil, "%s of generation %d\n", path, g)}
	}
	c := &render.Config{
		Stamp: render.Stamp{Cluster: "shop", Generation: g, Digest: fmt.Sprintf("%064x", g)},
		Node:  "eds1", Kind: render.Director,
		Files: []render.File{
			file(clusterFile, 0o644), file("/etc/svm/relay.key", 0o600),
			file("/etc/systemd/system/svm-fwd.service", 0o644),
		},
	}
	if g%2 == 0 {
		c.Files = append(c.Files, file("/etc/sysctl.d/90-svm.conf", 0o644), file("/etc/svm/more/even", 0o640))
	} else {
		c.Files = append(c.Files, file("/etc/svm/odd", 0o644), file("/etc/systemd/system/svm-odd.service", 0o644))
	}
	slices.SortFunc(c.Files, func(a, b render.File) int { return strings.Compare(a.Path, b.Path) })
	return c
}

var ctx = context.Background()

// step does the verbs for g: "stage", "switch", "confirm", "rollback".
func (f *farm) step(t testing.TB, g uint64, verbs ...string) {
	t.Helper()
	for _, v := range verbs {
		if err := f.do(v, g); err != nil {
			t.Fatalf("%s %d: %v", v, g, err)
		}
	}
}

func (f *farm) do(verb string, g uint64) error {
	switch verb {
	case "stage":
		return f.s.Stage(ctx, config(g), Proof{Signature: []byte("sig\n"), Bundle: fmt.Appendf(nil, "bundle %d", g)})
	case "switch":
		return f.s.Switch(ctx, g)
	case "confirm":
		return f.s.Confirm(ctx, g)
	case "rollback":
		return f.s.Rollback(ctx, g)
	case "recover":
		return f.s.Recover(ctx)
	case "repair":
		return f.s.Repair(ctx)
	}
	return errors.New("no such verb")
}

func (f *farm) push(t testing.TB, g uint64) {
	t.Helper()
	f.step(t, g, "stage", "switch", "confirm")
}

// onHost reads all files below the root, through links, with their modes. A link that
// leads nowhere is no file.
func (f *farm) onHost(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(f.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		fi, err2 := os.Stat(path)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		all[strings.TrimPrefix(path, f.root)] = fmt.Sprintf("%04o %s", fi.Mode().Perm(), b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// filesOf is what onHost reads where generation g rules; 0 is a bare machine.
func filesOf(g uint64) map[string]string {
	all := map[string]string{}
	if g != 0 {
		for _, c := range config(g).Files {
			all[c.Path] = fmt.Sprintf("%04o %s", c.Mode, c.Data)
		}
	}
	return all
}

// want checks that the machine is wholly on g, with nothing else left on it.
func (f *farm) want(t testing.TB, g uint64, phase Phase) State {
	t.Helper()
	st, err := f.s.State(ctx)
	files := filesOf(g)
	if st.Previous != nil { // its copies stay until the confirmation
		for p, text := range filesOf(st.Previous.Generation) {
			if _, has := files[p]; !has && copied(p) {
				files[p] = text
			}
		}
	}
	same(t, f.onHost(t), files)
	if err != nil {
		t.Fatal(err)
	}
	got := uint64(0)
	if st.Current != nil {
		got = st.Current.Generation
	}
	if got != g || st.Phase != phase || len(st.Drift) != 0 {
		t.Errorf("on generation %d, %s, drift %v; want %d, %s", got, st.Phase, st.Drift, g, phase)
	}
	for _, w := range f.act.wrong {
		t.Error(w)
	}
	f.noRubbish(t)
	return st
}

func (f *farm) noRubbish(t testing.TB) {
	t.Helper()
	err := filepath.WalkDir(f.base, func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".svm-new") || strings.HasSuffix(path, ".tmp") {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func same(t testing.TB, got, want map[string]string) {
	t.Helper()
	for p, w := range want {
		if got[p] != w {
			t.Errorf("%s is %.80q, want %.80q", p, got[p], w)
		}
	}
	for p, g := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s is there: %.80q", p, g)
		}
	}
}
