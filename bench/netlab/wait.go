package netlab

import (
	"testing"
	"time"
)

// Eventually waits until cond is true. It fails the test at once with msg when
// that does not happen within the time.
func Eventually(t testing.TB, within time.Duration, cond func() bool, msg string) {
	t.Helper()
	err := poll(within, func() error {
		if !cond() {
			return errNotYet{}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("not within %s: %s", within, msg)
	}
}

type errNotYet struct{}

func (errNotYet) Error() string { return "not yet" }

// poll calls f until it returns nil, at most for the time, and at least once
// after that; it returns f's last error. The steps grow from 200 µs to 20 ms.
func poll(within time.Duration, f func() error) error {
	deadline := time.Now().Add(within)
	for step := 200 * time.Microsecond; ; step = min(2*step, 20*time.Millisecond) {
		late := time.Now().After(deadline)
		err := f()
		if err == nil || late {
			return err
		}
		time.Sleep(step)
	}
}
