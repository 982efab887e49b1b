package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/svm-cluster/svm/ems/render"
)

// What a generation's directory holds besides the files.
const (
	rootDir     = "root"
	configFile  = "config.json" // the whole render.Config, for repairs
	manifestIn  = "manifest.json"
	manifestSig = "manifest.json.minisig"
	bundleIn    = "bundle.json"
	bundleSig   = "bundle.json.minisig"
)

// writeTree writes generation c to dir, which isn't there yet, and returns when all of
// it is on the disk: every file, every directory from the deepest up, and dir's name.
func (x *session) writeTree(dir string, c *render.Config, p Proof) error {
	if err := x.dir.mkdir(dir, 0o755); err != nil {
		return err
	}
	g, err := x.dir.sub(dir)
	if err != nil {
		return err
	}
	defer g.close()
	if err := g.mkdir(rootDir, 0o755); err != nil {
		return err
	}
	root, err := g.sub(rootDir)
	if err != nil {
		return err
	}
	defer root.close()
	for _, f := range c.Files {
		name := strings.TrimPrefix(f.Path, "/")
		if err := mkdirs(root, name); err != nil {
			return err
		}
		if err := root.create(name, f.Data, ownerAttr(f.Owner, f.Mode)); err != nil {
			return err
		}
	}
	for _, dir := range parents(c.Files) { // the files' names
		if err := root.sync(dir); err != nil {
			return err
		}
	}
	whole, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := g.create(configFile, whole, attr{mode: 0o600, uid: -1, gid: -1}); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{manifestIn, p.Manifest}, {manifestSig, p.Signature}, {bundleIn, p.Bundle}, {bundleSig, p.BundleSig}} {
		if f.data == nil {
			continue
		}
		if err := g.create(f.name, f.data, x.proofAttr()); err != nil {
			return err
		}
	}
	return g.sync(".")
}

// mkdirs makes the directories above name, each durably.
func mkdirs(p *place, name string) error {
	for i, c := range name {
		if c == '/' {
			if fi, err := p.root.Lstat(name[:i]); err == nil && fi.IsDir() {
				continue
			}
			if err := p.mkdir(name[:i], 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// parents are the directories that hold files, each once.
func parents(files []render.File) []string {
	var dirs []string
	seen := map[string]bool{}
	for _, f := range files {
		d := filepath.Dir(strings.TrimPrefix(f.Path, "/"))
		if !seen[d] {
			seen[d] = true
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// ownerAttr is what a delivered file is to be: root's, or its owner's where there is
// such a user. Whoever isn't root delivers as himself.
func ownerAttr(owner string, mode fs.FileMode) attr {
	a := attr{mode: mode, uid: -1, gid: -1}
	if !isRoot() {
		return a
	}
	a.uid, a.gid = 0, 0
	if owner == "" {
		return a
	}
	u, err := user.Lookup(owner)
	if err != nil {
		return a
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 == nil && err2 == nil {
		a.uid, a.gid = uid, gid
	}
	return a
}

// readManifest reads a generation's manifest. The limit is above any that Stage lets in.
func readManifest(store *place, g uint64) (*render.Manifest, error) {
	name := filepath.Join(genName(g), manifestIn)
	b, err := store.read(name, maxProof)
	if err != nil {
		return nil, err
	}
	m, err := render.ParseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: push a new generation: %w", store.path(name), err)
	}
	return m, nil
}

// wholeConfig reads the copy that repairs are made from, and believes it only if it
// is what the manifest says.
func (x *session) wholeConfig(g uint64, m *render.Manifest) (*render.Config, error) {
	name := filepath.Join(genName(g), configFile)
	b, err := x.dir.read(name, 4*maxTotal)
	if err != nil {
		return nil, err
	}
	var c render.Config
	if err = json.Unmarshal(b, &c); err == nil {
		err = m.Verify(&c)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: push a new generation: %w", x.path(name), err)
	}
	return &c, nil
}

// proof reads the proof of the generation that pick chooses, without the lock: a
// generation never changes under its name, so if it was removed meanwhile the record
// names another one now.
func (s *Store) proof(pick func(record) uint64) (*render.Manifest, *Proof, error) {
	p, err := openPlace(s.cfg.Dir)
	if err != nil {
		return nil, nil, err
	}
	defer p.close()
	for try := 0; ; try++ {
		r, err := loadRecord(p)
		if err != nil {
			return nil, nil, err
		}
		g := pick(r)
		if g == 0 {
			return nil, nil, nil
		}
		m, proof, err := readProof(p, g)
		if !errors.Is(err, fs.ErrNotExist) || try == 2 {
			return m, proof, err
		}
	}
}

func readProof(store *place, g uint64) (*render.Manifest, *Proof, error) {
	m, err := readManifest(store, g)
	if err != nil {
		return nil, nil, err
	}
	p := &Proof{}
	for _, f := range []struct {
		name     string
		to       *[]byte
		optional bool
	}{{manifestIn, &p.Manifest, false}, {manifestSig, &p.Signature, true}, {bundleIn, &p.Bundle, true}, {bundleSig, &p.BundleSig, true}} {
		b, err := store.read(filepath.Join(genName(g), f.name), maxProof)
		if err != nil && (!f.optional || !errors.Is(err, syscall.ENOENT)) {
			return nil, nil, err
		}
		*f.to = b
	}
	return m, p, nil
}

// isRoot tells whether files can be given to others.
func isRoot() bool { return os.Geteuid() == 0 }
