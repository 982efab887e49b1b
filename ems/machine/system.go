package machine

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// OpenSystem opens the store of the machine that this process runs on, which obeys
// through systemd. self is the unit that this process runs in, if a configuration may
// change it.
func OpenSystem(dir, self string, log *slog.Logger) (*Store, error) {
	return Open(system(dir, self, log))
}

func system(dir, self string, log *slog.Logger) Config {
	return Config{Root: "/", Dir: dir, Log: log, Activator: &SystemdActivator{Root: "/", Dir: dir, Self: self, Log: log}}
}

// RecoverSystem ends what a crash interrupted. Where somebody works on the store he has
// done that already, and may be waiting for this very process: systemd runs it when a
// unit stops that he has told to.
func RecoverSystem(ctx context.Context, dir string, log *slog.Logger) error {
	c := system(dir, "", log)
	c.LockWait = 50 * time.Millisecond
	s, err := Open(c)
	if err == nil {
		err = s.Recover(ctx)
	}
	if errors.Is(err, ErrBusy) {
		return nil
	}
	return err
}
