package station

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Outcome of a push: Running, or what package push calls its ending.
type Outcome string

const (
	Running   Outcome = "running" // or the station was killed: nobody holds the lock then
	Delivered Outcome = "delivered"
)

// Journal is the running or last push.
type Journal struct {
	Generation uint64                    `json:"generation"`
	Author     string                    `json:"author"`
	Started    time.Time                 `json:"started"`
	Ended      time.Time                 `json:"ended,omitzero"`
	Outcome    Outcome                   `json:"outcome"`
	Error      string                    `json:"error,omitempty"`
	Machines   map[string]JournalMachine `json:"machines"`
	// Delivered is the newest generation that was delivered and confirmed; 0: none.
	Delivered uint64 `json:"delivered,omitempty"`
}

// JournalMachine is how far a machine came.
type JournalMachine struct {
	Step  string `json:"step"` // as in package push
	Error string `json:"error,omitempty"`
}

// Journal reads the running or last push; nil: there was none.
func (s *Station) Journal() (*Journal, error) {
	j := new(Journal)
	switch err := readJSON(s.path(journalFile), j); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("journal: %w: rm %s; it only tells of the last push", err, s.path(journalFile))
	}
	return j, nil
}

// WriteJournal replaces it.
func (s *Station) WriteJournal(j *Journal) error {
	if err := s.locked(); err != nil {
		return err
	}
	if err := writeFile(s.path(journalFile), encode(j), 0o600); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// LockOwner tells who holds the lock; ok is false if nobody does.
func (s *Station) LockOwner() (o Owner, ok bool, err error) {
	if _, err := os.Stat(s.path(lockFile)); errors.Is(err, fs.ErrNotExist) {
		return Owner{}, false, nil
	}
	held, err := isHeld(s.path(lockFile))
	if err != nil || !held {
		return Owner{}, false, err
	}
	return readOwner(s.path(lockFile)), true, nil
}
