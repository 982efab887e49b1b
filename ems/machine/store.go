package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/svm-cluster/svm/ems/render"
)

const (
	currentLink    = "current"
	previousLink   = "previous"
	generationsDir = "generations"
	adoptedDir     = "adopted"
	incomingDir    = "incoming"
	tmpSuffix      = ".tmp"
)

// Store is the configuration store of this machine. Its methods take its lock (across
// processes, too) and are safe for concurrent use.
type Store struct{ cfg Config }

// Open makes sure that the store's directories are there. It starts nothing; a store
// needs no closing. Whoever may only read (see Config.Group) can open one that exists.
func Open(cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.LockWait == 0 {
		cfg.LockWait = 10 * time.Second
	}
	if cfg.Activator == nil {
		return nil, errors.New("machine: no Activator")
	}
	if !filepath.IsAbs(cfg.Dir) || !filepath.IsAbs(cfg.Root) {
		return nil, fmt.Errorf("machine: the store %q and the root %q must be absolute paths", cfg.Dir, cfg.Root)
	}
	cfg.Dir, cfg.Root = filepath.Clean(cfg.Dir), filepath.Clean(cfg.Root)
	if err := makeDir(cfg.Dir); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg}
	p, err := openPlace(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer p.close()
	for dir, mode := range map[string]fs.FileMode{generationsDir: 0o755, adoptedDir: 0o700, incomingDir: 0o700} {
		if fi, err := p.root.Lstat(dir); err == nil && fi.IsDir() && fi.Mode().Perm() == mode {
			continue
		}
		if err := p.mkdir(dir, mode); err != nil {
			return nil, err
		}
		if err := p.root.Chmod(dir, mode); err != nil {
			return nil, trouble(p.path(dir), err)
		}
	}
	if _, err := p.root.Lstat(recordFile); err == nil {
		return s, nil
	}
	l, err := lock(context.Background(), p.path(lockFile), "open", cfg.LockWait)
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	return s, firstRecord(p)
}

// makeDir makes the store's directory if it isn't there. Daemons that aren't root read
// their files through it, whatever the umask.
func makeDir(dir string) error {
	if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if err := os.MkdirAll(above, 0o755); err != nil {
		return trouble(above, err)
	}
	p, err := openPlace(above)
	if err != nil {
		return err
	}
	defer p.close()
	return p.mkdir(filepath.Base(dir), 0o755)
}

// session is one method's work in the store, under its lock.
type session struct {
	*Store
	lock *flock.Flock
	dir  *place // the store
	host *place // Root
	rec  record
}

// enter takes the lock and reads the record.
func (s *Store) enter(ctx context.Context, verb string) (*session, error) {
	l, err := lock(ctx, filepath.Join(s.cfg.Dir, lockFile), verb, s.cfg.LockWait)
	if err != nil {
		return nil, err
	}
	x := &session{Store: s, lock: l}
	if x.dir, err = openPlace(s.cfg.Dir); err == nil {
		if x.host, err = openPlace(s.cfg.Root); err == nil {
			x.rec, err = loadRecord(x.dir)
		}
	}
	if err != nil {
		x.leave()
		return nil, err
	}
	return x, nil
}

func (x *session) leave() {
	if x.dir != nil {
		x.dir.close()
	}
	if x.host != nil {
		x.host.close()
	}
	if err := x.lock.Unlock(); err != nil {
		x.cfg.Log.Warn("the lock of the configuration store could not be given back", "error", err)
	}
}

func (x *session) path(name string) string { return x.dir.path(name) }

// Tree is where the files of a generation lie as below "/". dir is the store's.
func Tree(dir string, generation uint64) string {
	return filepath.Join(dir, genName(generation), rootDir)
}

// genName is a generation's directory below the store.
func genName(g uint64) string { return filepath.Join(generationsDir, fmt.Sprintf("%010d", g)) }

// genOf is the generation that a name of genName is of; 0 if it is another name.
func genOf(name string) uint64 {
	base, ok := strings.CutPrefix(name, generationsDir+"/")
	g, err := strconv.ParseUint(base, 10, 64)
	if !ok || err != nil || genName(g) != name {
		return 0
	}
	return g
}

// linked is the generation that current points to: what rules. 0 is none.
func (x *session) linked() (uint64, error) {
	t, err := x.dir.root.Readlink(currentLink)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, trouble(x.path(currentLink), err)
	}
	if g := genOf(t); g != 0 {
		return g, nil
	}
	return 0, fmt.Errorf("%s points to %q, which is no generation: was it changed by hand? rm it and run the repair", x.path(currentLink), t)
}

// point makes a link of the store point to a generation, or removes it for 0. For
// current this one rename is the switch.
func (x *session) point(link string, g uint64) error {
	if g == 0 {
		return x.dir.drop(link)
	}
	if t, err := x.dir.root.Readlink(link); err == nil && t == genName(g) {
		return nil
	}
	return x.dir.link(genName(g), link)
}

// manifest reads a generation's; of 0 it is nil.
func (x *session) manifest(g uint64) (*render.Manifest, error) {
	if g == 0 {
		return nil, nil
	}
	return readManifest(x.dir, g)
}

// proofAttr is how proofs lie in a generation.
func (s *Store) proofAttr() attr {
	a := attr{mode: 0o600, uid: -1, gid: -1}
	if s.cfg.Group == "" || !isRoot() {
		return a
	}
	if g, err := user.LookupGroup(s.cfg.Group); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			a.mode, a.gid = 0o640, gid
		}
	}
	return a
}

// Incoming is the directory for uploads in the store dir; whoever uploads tidies it.
func Incoming(dir string) string { return filepath.Join(dir, incomingDir) }
