package station

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/render"
)

const (
	yamlFile   = "cluster.yaml"
	metaFile   = "meta.json"
	bundleFile = "bundle.json"
	sigFile    = "bundle.json.minisig"
	mediumFile = "medium.age"
)

// Record is what the history says of one generation.
type Record struct {
	render.Stamp
	bundle.Meta
	// Of is the generation whose cluster file this one brought back; 0: none.
	Of uint64 `json:"of,omitempty"`
}

// Generation is one configuration of the whole cluster. It never changes.
type Generation struct {
	Record
	YAML   []byte // the cluster file, as the operator wrote it
	Roster render.Roster
}

// Input is what the generation's files are rendered from.
func (g *Generation) Input() render.Input {
	return render.Input{Generation: g.Stamp.Generation, YAML: g.YAML, Roster: g.Roster}
}

// Change says who makes a generation, and why.
type Change struct {
	Author, Note string
	// Again makes a generation even if nothing differs from the newest one: machines
	// take it anew then.
	Again bool
	// AtLeast, if greater than the number that is next, becomes the new generation's: a
	// station that was restored from an old backup catches up with its machines so.
	AtLeast uint64
}

func (c *Change) meta() bundle.Meta {
	return bundle.Meta{Author: c.Author, Note: c.Note, Time: time.Now().UTC().Truncate(time.Second)}
}

// MaxNote is the longest note, in bytes.
const MaxNote = 4096

// MaxGeneration is the greatest number. Nobody gets there by counting; it is here so
// that a slip of the hand with Change.AtLeast doesn't use them all up.
const MaxGeneration = 9_999_999_999

// numbers lists the generations on disk, oldest first.
func (s *Station) numbers() ([]uint64, error) {
	entries, err := os.ReadDir(s.path(generations))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var all []uint64
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 10, 64)
		if err == nil && e.IsDir() && generationName(n) == e.Name() && n > 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

func generationName(n uint64) string { return fmt.Sprintf("%010d", n) }

func (s *Station) generationDir(n uint64) string { return s.path(generations, generationName(n)) }

// Generations lists the history, oldest first.
func (s *Station) Generations() ([]Record, error) {
	numbers, err := s.numbers()
	if err != nil {
		return nil, err
	}
	all := make([]Record, len(numbers))
	for i, n := range numbers {
		if err := s.record(n, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s *Station) record(n uint64, r *Record) error {
	path := filepath.Join(s.generationDir(n), metaFile)
	if err := readJSON(path, r); err != nil {
		return fmt.Errorf("generation %d: %w", n, err)
	}
	if r.Stamp.Generation != n {
		return fmt.Errorf("generation %d: %s is of generation %d", n, path, r.Stamp.Generation)
	}
	return nil
}

// Newest is the newest generation.
func (s *Station) Newest() (*Generation, error) {
	all, err := s.numbers()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %w: it has no generation", s.dir, ErrNotInit)
	}
	return s.Generation(all[len(all)-1])
}

// Generation reads generation n and makes sure that it is what was committed.
func (s *Station) Generation(n uint64) (*Generation, error) {
	all, err := s.numbers()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(all, n) {
		return nil, fmt.Errorf("no generation %d: see svm-ems history", n)
	}
	g := new(Generation)
	if err := s.record(n, &g.Record); err != nil {
		return nil, err
	}
	dir := s.generationDir(n)
	if g.YAML, err = os.ReadFile(filepath.Join(dir, yamlFile)); err != nil {
		return nil, fmt.Errorf("generation %d: %w", n, err)
	}
	if err := readJSON(filepath.Join(dir, rosterFile), &g.Roster); err != nil {
		return nil, fmt.Errorf("generation %d: %w", n, err)
	}
	if in := g.Input(); in.Digest() != g.Digest {
		return nil, fmt.Errorf("generation %d: %s isn't what was committed: svm-ems restore brings a backup back", n, dir)
	}
	return g, nil
}

// Commit makes yaml the newest generation, with today's roster and secrets; name is what
// messages call the file. Where no file of any machine would differ from the newest one's,
// that is returned and made is false. What is wrong with the file is cluster.Problems.
func (s *Station) Commit(name string, yaml []byte, c Change) (g *Generation, made bool, err error) {
	return s.commit(name, yaml, c, 0)
}

// Rollback makes a new generation with the cluster file of generation n and today's
// roster and secrets.
func (s *Station) Rollback(n uint64, c Change) (g *Generation, made bool, err error) {
	old, err := s.Generation(n)
	if err != nil {
		return nil, false, err
	}
	return s.commit(fmt.Sprintf("generation %d", n), old.YAML, c, n)
}

func (s *Station) commit(name string, yaml []byte, c Change, of uint64) (*Generation, bool, error) {
	if err := s.locked(); err != nil {
		return nil, false, err
	}
	if len(c.Note) > MaxNote {
		return nil, false, fmt.Errorf("the note has %d bytes: %d are the most", len(c.Note), MaxNote)
	}
	d, err := s.Draft(name, yaml)
	if err != nil {
		return nil, false, err
	}
	if newest := d.Newest; newest != nil && !c.Again && bytes.Equal(newest.YAML, yaml) && sameRoster(newest.Roster, d.Input.Roster) &&
		newest.Stamp.Generation >= c.AtLeast && s.current(newest, d) {
		return newest, false, nil
	}
	if c.AtLeast > d.Input.Generation {
		d.Input.Generation = c.AtLeast
	}
	if d.Input.Generation > MaxGeneration {
		return nil, false, fmt.Errorf("generation %d: %d is the greatest number", d.Input.Generation, uint64(MaxGeneration))
	}
	key, err := s.key()
	if err != nil {
		return nil, false, err
	}
	meta := c.meta()
	raw, sig, err := bundle.Make(d.Input, meta, d.Secrets, key)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	// A fresh key must be here for good before something that was sealed with it is.
	if err := s.keep(d.fresh); err != nil {
		return nil, false, fmt.Errorf("commit: %w", err)
	}
	g := &Generation{YAML: yaml, Roster: d.Input.Roster}
	g.Record = Record{Meta: meta, Of: of, Stamp: render.Stamp{
		Cluster: d.Cluster.Name, Generation: d.Input.Generation, Digest: d.Input.Digest(),
	}}
	err = newDir(s.path(generations), generationName(d.Input.Generation), map[string][]byte{
		yamlFile: yaml, rosterFile: encode(g.Roster), metaFile: encode(g.Record), bundleFile: raw, sigFile: sig,
	})
	if err != nil {
		return nil, false, fmt.Errorf("commit: %w", err)
	}
	return g, true, nil
}

// current tells whether g's bundle is what would be made of the same today: it isn't
// after a secret was replaced, or when a newer version of SVM renders otherwise.
func (s *Station) current(g *Generation, d *Draft) bool {
	raw, sig, err := s.Bundle(g.Stamp.Generation)
	if err != nil {
		return false
	}
	b, err := bundle.Open(raw, sig, s.public)
	if err != nil {
		return false
	}
	for i := range d.Cluster.Directors {
		name := d.Cluster.Directors[i].Name
		if _, _, err := b.Director(name, d.Secrets[name]); err != nil {
			return false
		}
	}
	for i := range d.Cluster.RealServers {
		if _, err := b.Part(d.Cluster.RealServers[i].Name); err != nil {
			return false
		}
	}
	return true
}

func sameRoster(a, b render.Roster) bool {
	return a.StationKey == b.StationKey && a.StationSSH == b.StationSSH && slices.Equal(a.Machines, b.Machines)
}

// Bundle is generation n, signed, as it was made.
func (s *Station) Bundle(n uint64) (raw, sig []byte, err error) {
	raw, err = os.ReadFile(filepath.Join(s.generationDir(n), bundleFile))
	if err == nil {
		sig, err = os.ReadFile(filepath.Join(s.generationDir(n), sigFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := s.Generation(n); err != nil {
			return nil, nil, err
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("generation %d: %w", n, err)
	}
	b, err := bundle.Open(raw, sig, s.public)
	if err != nil {
		return nil, nil, fmt.Errorf("generation %d: %s: %w: svm-ems restore brings a backup back", n, bundleFile, err)
	}
	if b.Generation != n {
		return nil, nil, fmt.Errorf("generation %d: %s is of generation %d", n, bundleFile, b.Generation)
	}
	return raw, sig, nil
}
