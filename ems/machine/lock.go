package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockFile = "lock"
	lockPoll = 20 * time.Millisecond
)

// holder is what the lock file says of the process that holds it. The lock itself is
// flock's: it ends with its process, whatever the file says then.
type holder struct {
	PID   int       `json:"pid"`
	Verb  string    `json:"verb"`
	Since time.Time `json:"since"`
}

// lock waits at most wait for the store's lock.
func lock(ctx context.Context, path, verb string, wait time.Duration) (*flock.Flock, error) {
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	l := flock.New(path)
	ok, err := l.TryLock() // first without ctx: an idle store is entered even if time is up
	if err == nil && !ok {
		ok, err = l.TryLockContext(bounded, lockPoll)
	}
	switch {
	case ok:
		// Only for the eyes of those who wait: no harm if it can't be written.
		b, _ := json.Marshal(holder{PID: os.Getpid(), Verb: verb, Since: time.Now().UTC().Truncate(time.Second)})
		_ = os.WriteFile(path, append(b, '\n'), 0o600)
		return l, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w by %s: gave up waiting: %w", ErrBusy, whoHolds(path), ctx.Err())
	case bounded.Err() != nil:
		return nil, fmt.Errorf("%w by %s, for longer than %v: try again when it is done", ErrBusy, whoHolds(path), wait)
	}
	return nil, trouble(path, err)
}

func whoHolds(path string) string {
	var h holder
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &h) != nil || h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d (%s, since %s)", h.PID, h.Verb, h.Since.Format(time.RFC3339))
}
