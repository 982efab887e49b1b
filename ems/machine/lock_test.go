package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// slow is an Activator whose Check waits.
type slow struct {
	*fake
	began, end chan struct{}
}

func (s slow) Check(context.Context, *render.Manifest, string) error {
	close(s.began)
	<-s.end
	return nil
}

// Who waits in vain is told for whom; who is killed holds nothing.
func TestLock(t *testing.T) {
	f := newFarm(t)
	f.push(t, 1)
	act := slow{f.act, make(chan struct{}), make(chan struct{})}
	holder, err := Open(Config{Root: f.root, Dir: f.dir, Activator: act})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- holder.Stage(ctx, config(2), Proof{}) }()
	<-act.began

	other, err := Open(Config{Root: f.root, Dir: f.dir, Activator: f.act, LockWait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.State(ctx)
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (stage, since ", os.Getpid())) {
		t.Errorf("%v", err)
	}
	bounded, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if err := f.s.Recover(bounded); !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	// Readers of proofs don't wait.
	if m, _, err := other.Current(); err != nil || m.Generation != 1 {
		t.Errorf("%v %v", m, err)
	}
	close(act.end)
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.want(t, 1, Staged)
}

// The lock of a process that was killed is no lock, whatever its file says.
func TestStaleLock(t *testing.T) {
	f := newFarm(t)
	f.push(t, 1)
	f.step(t, 2, "stage")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=hang 2", childBase+"="+f.base)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var one [1]byte
	if _, err := out.Read(one[:]); err != nil { // it is in its activation now
		t.Fatal(err)
	}
	other, err := Open(Config{Root: f.root, Dir: f.dir, Activator: f.act, LockWait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Recover(ctx); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), fmt.Sprint("process ", cmd.Process.Pid)) {
		t.Errorf("%v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if b, _ := os.ReadFile(filepath.Join(f.dir, lockFile)); !strings.Contains(string(b), "switch") {
		t.Errorf("the lock file says %q", b)
	}
	if err := other.Recover(ctx); err != nil {
		t.Error(err)
	}
	f.want(t, 2, Switched)
}

// Many at once: each turn is whole.
func TestConcurrent(t *testing.T) {
	f := farmIn(t, shm(t))
	f.push(t, 1)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				m, p, err := f.s.Confirmed()
				if err != nil || string(p.Bundle) != fmt.Sprint("bundle ", m.Generation) {
					t.Errorf("%v %v %v", m, p, err)
					return
				}
			}
		})
	}
	for g := range uint64(8) {
		writers.Go(func() {
			for _, v := range []string{"stage", "switch", "confirm"} {
				_ = f.do(v, g+2) // others are in between: any of them may be refused
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	st, err := f.s.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f.want(t, st.Current.Generation, st.Phase)
}
