package station

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestLockNamesItsOwner(t *testing.T) {
	s := newStation(t)
	l, err := s.Lock(t.Context(), "alice", "svm-ems push", 0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Lock(t.Context(), "bob", "svm-ems commit", 0)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Owner.User != "alice" || locked.Owner.PID != os.Getpid() {
		t.Fatalf("the second operator: %v", err)
	}
	wants(t, err, "locked by alice@", "svm-ems push, since ")
	if o, held, err := second.LockOwner(); err != nil || !held || o.Verb != "svm-ems push" {
		t.Errorf("owner: %+v, %v, %v", o, held, err)
	}
	_, _, err = second.Commit("cluster.yaml", farm(2), Change{})
	wants(t, err, "without its lock")
	// Who waits gets it.
	got := make(chan error)
	go func() {
		l, err := second.Lock(t.Context(), "bob", "svm-ems commit", time.Minute)
		if err == nil {
			err = l.Release()
		}
		got <- err
	}()
	if err := errors.Join(l.Release(), l.Release()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if _, held, err := s.LockOwner(); err != nil || held {
		t.Errorf("held by nobody: %v, %v", held, err)
	}
}

func TestLockWaitEnds(t *testing.T) {
	s := newStation(t)
	lock(t, s)
	second, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Lock(t.Context(), "bob", "svm-ems commit", 50*time.Millisecond)
	wants(t, err, "locked by alice@")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = second.Lock(ctx, "bob", "svm-ems commit", time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestLockOfADeadProcessIsFree(t *testing.T) {
	s := newStation(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe, s.Dir())
	c.Env = append(os.Environ(), asOperator+"=hold")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
	_, err = s.Lock(t.Context(), "alice", "svm-ems test", 0)
	wants(t, err, "locked by bob@", "svm-ems hold")
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	lock(t, s)
}

func TestOwnerInWords(t *testing.T) {
	now := time.Now()
	o := Owner{User: "alice", Host: "ems", PID: 4711, Verb: "svm-ems push", Since: now}
	if got, want := o.String(), "alice@ems (pid 4711, svm-ems push, since "+now.Format("15:04")+")"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	o.Since = now.AddDate(0, 0, -3)
	if got := o.String(); !strings.Contains(got, "since "+o.Since.Format(time.DateOnly)+" ") {
		t.Errorf("three days ago: %s", got)
	}
	if got := (&LockedError{}).Error(); got != "locked by another process" {
		t.Errorf("nobody known: %s", got)
	}
}
