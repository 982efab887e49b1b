package station

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
)

func TestHistory(t *testing.T) {
	s := lock(t, newStation(t))
	g2 := commit(t, s, 2)
	again, made, err := s.Commit("cluster.yaml", farm(2), Change{Note: "again"})
	if err != nil || made || again.Stamp != g2.Stamp || again.Note != "weight 2" {
		t.Errorf("the same again: %v, %+v, %v", made, again.Record, err)
	}
	g3, made, err := s.Commit("cluster.yaml", farm(2), Change{Note: "weight 3", Again: true})
	if err != nil || !made || g3.Stamp.Generation != 3 {
		t.Errorf("again: %v, %+v, %v", made, g3, err)
	}
	commit(t, s, 4)
	g5, made, err := s.Rollback(2, Change{Author: "bob@ems", Note: "4 was bad"})
	if err != nil || !made || g5.Stamp.Generation != 5 || g5.Of != 2 || !bytes.Equal(g5.YAML, farm(2)) {
		t.Fatalf("rollback: %v, %+v, %v", made, g5, err)
	}
	if _, made, err = s.Rollback(2, Change{}); err != nil || made {
		t.Errorf("rollback to what is newest: %v, %v", made, err)
	}
	reopened, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	all, err := reopened.Generations()
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	for i, r := range all {
		if r.Stamp.Generation != uint64(i+1) {
			t.Errorf("generation %d comes as number %d", r.Stamp.Generation, i+1)
		}
		notes = append(notes, r.Note)
		raw, sig, err := reopened.Bundle(r.Stamp.Generation)
		if err != nil {
			t.Fatal(err)
		}
		b, err := bundle.Open(raw, sig, s.PublicKey())
		if err != nil || b.Stamp != r.Stamp || !b.Meta.Time.Equal(r.Time) || b.Note != r.Note {
			t.Errorf("bundle %d: %+v, %v; history says %+v", r.Stamp.Generation, b, err, r)
		}
	}
	if got := strings.Join(notes, ", "); got != "the first, weight 2, weight 3, weight 4, 4 was bad" {
		t.Errorf("notes: %s", got)
	}
	_, err = s.Generation(9)
	wants(t, err, "no generation 9", "history")
	_, _, err = s.Bundle(9)
	wants(t, err, "no generation 9")
	_, _, err = s.Rollback(9, Change{})
	wants(t, err, "no generation 9")
}

func TestCommitRefuses(t *testing.T) {
	s := newStation(t)
	_, _, err := s.Commit("cluster.yaml", farm(2), Change{})
	wants(t, err, "without its lock")
	lock(t, s)
	_, _, err = s.Commit("x.yaml", []byte("cluster: shop\nnetwroks: {}\nservices: 5\n"), Change{})
	var problems cluster.Problems
	if !errors.As(err, &problems) || len(problems) < 3 {
		t.Errorf("a bad file: %v", err)
	}
	_, _, err = s.Commit("cluster.yaml", []byte(strings.Replace(string(farm(1)), "cluster: shop", "cluster: bank", 1)), Change{})
	wants(t, err, "cluster bank", "this station is of shop", "--state")
	_, _, err = s.Commit("cluster.yaml", []byte(strings.ReplaceAll(string(farm(1)), "eps1", "eds1")), Change{})
	wants(t, err, "eds1", "a director and a real server")
	_, _, err = s.Commit("cluster.yaml", farm(2), Change{Note: strings.Repeat("x", MaxNote+1)})
	wants(t, err, "note")
	_, _, err = s.Commit("cluster.yaml", farm(2), Change{AtLeast: MaxGeneration + 1})
	wants(t, err, "greatest")
	if all, err := s.Generations(); err != nil || len(all) != 1 {
		t.Errorf("after refusals: %d generations, %v", len(all), err)
	}
}

func TestAtLeast(t *testing.T) {
	s := lock(t, newStation(t))
	g, made, err := s.Commit("cluster.yaml", farm(1), Change{AtLeast: 12})
	if err != nil || !made || g.Stamp.Generation != 12 {
		t.Fatalf("%+v, %v, %v", g, made, err)
	}
	if _, made, err = s.Commit("cluster.yaml", farm(1), Change{AtLeast: 12}); err != nil || made {
		t.Errorf("twice: %v, %v", made, err)
	}
	if g := commit(t, s, 2); g.Stamp.Generation != 13 {
		t.Errorf("then %d", g.Stamp.Generation)
	}
}

func TestDraftWritesNothing(t *testing.T) {
	s := newStation(t)
	before := tree(t, s.Dir())
	d, err := s.Draft("cluster.yaml", []byte(strings.ReplaceAll(string(farm(2)), "eds2", "eds3")))
	if err != nil {
		t.Fatal(err)
	}
	if d.Input.Generation != 2 || len(d.Secrets["eds3"].RelayKey) == 0 || len(d.Input.Roster.Machines) != 2 {
		t.Errorf("draft: %+v", d.Input)
	}
	if after := tree(t, s.Dir()); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestDamageIsFound(t *testing.T) {
	for file, words := range map[string][]string{
		yamlFile:   {"isn't what was committed", "restore"},
		rosterFile: {"generation 1"},
		metaFile:   {"meta.json is damaged"},
	} {
		s := newStation(t)
		damage(t, filepath.Join(s.generationDir(1), file))
		_, err := s.Generation(1)
		wants(t, err, words...)
	}
	for _, file := range []string{bundleFile, sigFile} {
		s := newStation(t)
		damage(t, filepath.Join(s.generationDir(1), file))
		_, _, err := s.Bundle(1)
		wants(t, err, "generation 1", "restore")
	}
}

// damage flips a bit of the file's tenth byte from its end.
func damage(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-10] ^= 1
	if filepath.Base(path) == metaFile {
		b = b[:len(b)-10]
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBundlesNumberIsBelievedNotItsFolder(t *testing.T) {
	s := lock(t, newStation(t))
	commit(t, s, 2)
	for _, f := range []string{bundleFile, sigFile} {
		b, err := os.ReadFile(filepath.Join(s.generationDir(1), f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.generationDir(2), f), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := s.Bundle(2)
	wants(t, err, "is of generation 1")
}

func TestAReplacedSecretIsANewGeneration(t *testing.T) {
	s := lock(t, newStation(t))
	if err := os.Remove(s.path(haFile)); err != nil {
		t.Fatal(err)
	}
	g, made, err := s.Commit("cluster.yaml", farm(1), Change{})
	if err != nil || !made || g.Stamp.Generation != 2 {
		t.Fatalf("%+v, %v, %v", g, made, err)
	}
	if _, made, err = s.Commit("cluster.yaml", farm(1), Change{}); err != nil || made {
		t.Errorf("and then again: %v, %v", made, err)
	}
}
