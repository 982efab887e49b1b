package station

import (
	"bytes"
	"os"
	"testing"

	"github.com/svm-cluster/svm/ems/bundle"
)

func TestMedium(t *testing.T) {
	s := newStation(t)
	bare, err := s.Medium(1, "")
	if err != nil || bare.Secrets != nil {
		t.Fatalf("without secrets: %v, %d bytes", err, len(bare.Secrets))
	}
	_, err = s.Medium(1, "short")
	wants(t, err, "characters")
	_, err = s.Medium(1, phrase)
	wants(t, err, "without its lock")
	lock(t, s)
	one, err := s.Medium(1, phrase)
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Medium(1, phrase)
	if err != nil || !bytes.Equal(one.Secrets, two.Secrets) || !bytes.Equal(one.Bundle, two.Bundle) {
		t.Errorf("another medium: %v", err)
	}
	// A cache that doesn't fit is made anew.
	if err := os.WriteFile(s.path(generations, generationName(1), mediumFile), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	three, err := s.Medium(1, phrase)
	if err != nil {
		t.Fatal(err)
	}
	got, err := bundle.UnsealAll(three.Secrets, phrase)
	if err != nil || len(got) != 2 || len(got["eds1"].HAKey) == 0 {
		t.Errorf("secrets of %d directors: %v", len(got), err)
	}
}

func TestJournal(t *testing.T) {
	s := newStation(t)
	if j, err := s.Journal(); err != nil || j != nil {
		t.Errorf("at first: %v, %v", j, err)
	}
	wants(t, s.WriteJournal(&Journal{}), "without its lock")
	lock(t, s)
	want := &Journal{Generation: 3, Outcome: "rolled back", Delivered: 2, Machines: map[string]JournalMachine{"eds1": {Step: "failed", Error: "no route"}}}
	if err := s.WriteJournal(want); err != nil {
		t.Fatal(err)
	}
	j, err := s.Journal()
	if err != nil || j.Generation != 3 || j.Machines["eds1"].Error != "no route" || j.Outcome != "rolled back" {
		t.Errorf("%+v, %v", j, err)
	}
	if err := os.WriteFile(s.path(journalFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Journal()
	wants(t, err, "damaged", "rm ")
}
