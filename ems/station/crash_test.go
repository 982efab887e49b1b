package station

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// calls are the system calls that change what is on the disk.
const calls = "openat,write,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,truncate,ftruncate"

// TestCrash kills an operation at each system call that could change the disk, one
// after the other. Whatever is there then has to be whole, the old state or the new one,
// and the same operation has to succeed afterwards.
func TestCrash(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if out, err := exec.Command("strace", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatalf("strace: %v: %s", err, out)
		}
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	base := newStation(t)
	lock(t, base)
	line := machine(t, "eds1").String()
	for _, c := range []struct {
		verb  string
		args  []string
		ready int // generations when it is done
		// points are fewer than it has; fewer yet would say that strace misses some.
		points int
	}{{"init", nil, 1, 60}, {"director", nil, 2, 20}, {"rollback", nil, 3, 15}, {"enroll", []string{line}, 1, 5}, {"journal", nil, 1, 5}} {
		t.Run(c.verb, func(t *testing.T) {
			t.Parallel()
			before := filepath.Join(t.TempDir(), "ems")
			if c.verb != "init" {
				copyTree(t, base.Dir(), before)
			}
			if c.verb == "rollback" {
				if err := operate("commit", before, nil); err != nil {
					t.Fatal(err)
				}
			}
			all := points(t, before, c.verb, c.args...)
			killed := 0
			for i := range all {
				dir := filepath.Join(t.TempDir(), "ems")
				if c.verb != "init" {
					copyTree(t, before, dir)
				}
				done := run(t, dir, all[i], c.verb, c.args...)
				check(t, dir, all[i], c.ready, done, c.verb, c.args...)
				if !done {
					killed++
				}
			}
			if killed < c.points {
				t.Errorf("killed at %d points only", killed)
			}
			t.Logf("killed at %d points", killed)
		})
	}
}

// point is one system call of a process: the number'th of that name.
type point struct {
	call   string
	number int
}

// run has another process do verb; at one system call it is killed. It tells whether it
// came to its end.
func run(t *testing.T, dir string, at point, verb string, args ...string) bool {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append([]string{"-f", "-o", os.DevNull, "-e", "trace=" + at.call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", at.call, at.number), exe, dir}, args...)
	c := exec.Command("strace", argv...)
	c.Env = append(os.Environ(), asOperator+"="+verb, "GOMAXPROCS=1")
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return true
	case errors.As(err, &exit) && len(out) == 0:
		return false
	}
	t.Fatalf("%s: %v\n%s", verb, err, out)
	return false
}

// points are the system calls by which verb changes a copy of dir.
func points(t *testing.T, dir, verb string, args ...string) (all []point) {
	t.Helper()
	trial := filepath.Join(t.TempDir(), "trial")
	if _, err := os.Stat(dir); err == nil {
		copyTree(t, dir, trial)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	c := exec.Command("strace", append([]string{"-f", "-o", log, "-e", "trace=" + calls, exe, trial}, args...)...)
	c.Env = append(os.Environ(), asOperator+"="+verb, "GOMAXPROCS=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// strace counts by thread and call; each line begins with the thread's id.
	seen, worker := map[string]int{}, ""
	for line := range strings.Lines(string(b)) {
		thread, rest, _ := strings.Cut(line, " ")
		call, rest, ok := strings.Cut(strings.TrimSpace(rest), "(")
		if !ok || strings.ContainsAny(call, " <+-") {
			continue
		}
		seen[thread+call]++
		if strings.Contains(rest, trial) {
			worker = thread
		}
		if thread == worker && (call != "openat" || strings.Contains(rest, "O_CREAT")) {
			all = append(all, point{call, seen[thread+call]})
		}
	}
	return all
}

// check looks at what a killed operation left, and repeats it.
func check(t *testing.T, dir string, at point, ready int, done bool, verb string, args ...string) {
	t.Helper()
	s, err := Open(dir)
	if verb == "init" && errors.Is(err, ErrNotInit) && !done {
		if s, err = Init(t.Context(), initConfig(dir)); err != nil {
			t.Fatalf("killed at %v, then again: %v", at, err)
		}
	}
	if err != nil {
		t.Fatalf("killed at %v: %v", at, err)
	}
	if err := s.verify(); err != nil {
		t.Fatalf("killed at %v: %v", at, err)
	}
	if verb != "init" {
		if err := operate(verb, dir, args); err != nil {
			t.Fatalf("killed at %v, then again: %v", at, err)
		}
	}
	lock(t, s)
	if err := s.verify(); err != nil {
		t.Fatalf("killed at %v, then again: %v", at, err)
	}
	all, err := s.Generations()
	if err != nil || len(all) != ready {
		t.Fatalf("killed at %v, then again: %d generations, want %d: %v", at, len(all), ready, err)
	}
	if left := tree(t, dir); strings.Contains(left, tmpPrefix) {
		t.Fatalf("killed at %v, then again: something is left:\n%s", at, left)
	}
}

// TestDiskFull has each system call that needs room fail.
func TestDiskFull(t *testing.T) {
	if out, err := exec.Command("strace", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatalf("strace: %v: %s", err, out)
		}
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	base := newStation(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, base.Dir())
	for _, c := range []struct{ call, failure string }{
		{"fsync", "ENOSPC"}, {"fsync", "EIO"}, {"mkdirat", "ENOSPC"}, {"mkdirat", "EROFS"}, {"renameat", "ENOSPC"}, {"renameat", "EROFS"},
	} {
		dir := filepath.Join(t.TempDir(), "ems")
		copyTree(t, base.Dir(), dir)
		p := exec.Command("strace", "-f", "-o", os.DevNull, "-e", "trace="+c.call, "-e", "inject="+c.call+":error="+c.failure, exe, dir)
		p.Env = append(os.Environ(), asOperator+"=commit")
		out, err := p.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("commit: ")) {
			t.Errorf("%s of every %s: %v: %s", c.failure, c.call, err, out)
		}
		if got := tree(t, dir); got != before {
			t.Errorf("%s of every %s: another state\n%s\nbefore\n%s", c.failure, c.call, got, before)
		}
	}
}
