package station

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// Owner is who holds the lock.
type Owner struct {
	User  string    `json:"user"`
	Host  string    `json:"host"`
	PID   int       `json:"pid"`
	Verb  string    `json:"verb"` // "svm-ems push"
	Since time.Time `json:"since"`
}

// String is "alice@ems (pid 4711, svm-ems push, since 03:12)"; the time is local, with
// the day if it isn't today's.
func (o Owner) String() string {
	if o.PID == 0 {
		return "another process"
	}
	layout := "15:04"
	if since := o.Since.Local(); since.Format(time.DateOnly) != time.Now().Format(time.DateOnly) {
		layout = time.DateOnly + " 15:04"
	}
	return fmt.Sprintf("%s@%s (pid %d, %s, since %s)", o.User, o.Host, o.PID, o.Verb, o.Since.Local().Format(layout))
}

// LockedError says that somebody else is changing the station.
type LockedError struct{ Owner Owner }

func (e *LockedError) Error() string { return "locked by " + e.Owner.String() }

// Lock is the right to change the station. The kernel takes it back when the process
// ends, however that happens.
type Lock struct {
	s    *Station
	file *flock.Flock
}

// Lock takes the right to change the station, for verb; it waits for up to wait if
// somebody else has it, and then fails with LockedError. What interrupted writes left
// is removed.
func (s *Station) Lock(ctx context.Context, user, verb string, wait time.Duration) (*Lock, error) {
	l, err := acquire(ctx, s.path(lockFile), user, verb, wait)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.s, s.held = s, l
	if err := s.sweep(); err != nil {
		s.held = nil
		return nil, errors.Join(err, l.file.Unlock())
	}
	return l, nil
}

// Release gives the lock back; a second call does nothing.
func (l *Lock) Release() error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.held != l {
		return nil
	}
	l.s.held = nil
	return l.free()
}

func (l *Lock) free() error {
	// Emptied first: a name that isn't the holder's would mislead.
	return errors.Join(os.Truncate(l.file.Path(), 0), l.file.Unlock())
}

// locked is an error if the caller doesn't hold the lock.
func (s *Station) locked() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		return errors.New("station: changed without its lock")
	}
	return nil
}

const lockPoll = 20 * time.Millisecond

func acquire(ctx context.Context, path, user, verb string, wait time.Duration) (*Lock, error) {
	f := flock.New(path)
	// Even with no wait, an owner gets a moment to write down who it is.
	limit, cancel := context.WithTimeout(ctx, max(wait, 5*lockPoll))
	defer cancel()
	for first := true; ; first = false {
		ok, err := f.TryLock()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", filepath.Dir(path), err)
		}
		if ok {
			break
		}
		owner := readOwner(path)
		// Twice: the first time it may have been LockOwner, which only looks.
		if wait <= 0 && owner.PID != 0 && !first {
			return nil, &LockedError{owner}
		}
		select {
		case <-limit.Done():
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return nil, &LockedError{owner}
		case <-time.After(lockPoll):
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	me, err := json.Marshal(Owner{User: user, Host: host, PID: os.Getpid(), Verb: verb, Since: time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		// In place: the lock is on this very file.
		err = os.WriteFile(path, append(me, '\n'), 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Unlock())
	}
	return &Lock{file: f}, nil
}

// readOwner is zero where nobody has written one yet.
func readOwner(path string) Owner {
	var o Owner
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &o) != nil {
		return Owner{}
	}
	return o
}

// isHeld tries a shared lock for a moment.
func isHeld(path string) (bool, error) {
	f := flock.New(path)
	ok, err := f.TryRLock()
	if err != nil {
		return false, fmt.Errorf("lock: %w", err)
	}
	return !ok, f.Unlock()
}
