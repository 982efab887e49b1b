package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const diskEnv = "SVM_MACHINE_DISK"

// TestDisk runs TestDiskInside in a mount namespace of its own.
func TestDisk(t *testing.T) {
	for _, kind := range []string{"full", "inodes", "read-only"} {
		t.Run(kind, func(t *testing.T) {
			flags := "-m"
			if !isRoot() {
				flags = "-Urm"
			}
			if b, err := exec.Command("unshare", flags, "mount", "-t", "tmpfs", "none", t.TempDir()).CombinedOutput(); err != nil {
				if os.Getenv("SVM_REQUIRE") == "1" {
					t.Fatalf("no mount namespace here: %v: %s", err, b)
				}
				t.Skipf("no mount namespace here: %v: %s", err, b)
			}
			cmd := exec.Command("unshare", flags, os.Args[0], "-test.run=^TestDiskInside$", "-test.v")
			cmd.Env = append(os.Environ(), diskEnv+"="+kind+":"+t.TempDir())
			b, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, b)
			}
			t.Logf("%s", b)
		})
	}
}

// On a disk that takes nothing more the generation that rules goes on, State can say
// so, and the errors say what to do. With room again all goes on.
func TestDiskInside(t *testing.T) {
	kind, base, ok := strings.Cut(os.Getenv(diskEnv), ":")
	if !ok {
		return // this is no test but inside of TestDisk's mount namespace
	}
	if err := unix.Mount("none", base, "tmpfs", 0, "size=1m,nr_inodes=200"); err != nil {
		t.Fatal(err)
	}
	f := farmIn(t, base)
	f.push(t, 1)
	f.step(t, 2, "stage")
	f.want(t, 1, Staged)

	var remedy string
	again := func() error { return nil }
	switch kind {
	case "full":
		remedy = "the disk is full"
		big := filepath.Join(base, "big")
		if err := os.WriteFile(big, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		again = func() error { return os.Remove(big) }
	case "inodes":
		remedy = "no inodes left"
		for i := 0; ; i++ {
			err := os.WriteFile(filepath.Join(base, fmt.Sprint("empty", i)), nil, 0o600)
			if errors.Is(err, syscall.ENOSPC) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		again = func() error {
			all, err := filepath.Glob(base + "/empty*")
			for _, name := range all {
				err = errors.Join(err, os.Remove(name))
			}
			return err
		}
	case "read-only":
		remedy = "the file system is read-only"
		remount := func(flags uintptr) error { return unix.Mount("", base, "", unix.MS_REMOUNT|flags, "") }
		if err := remount(unix.MS_RDONLY); err != nil {
			t.Fatal(err)
		}
		again = func() error { return remount(0) }
	}
	for _, verb := range []string{"switch", "stage", "rollback"} {
		err := f.do(verb, 2)
		if err == nil || !strings.Contains(err.Error(), remedy) || !strings.Contains(err.Error(), f.dir) {
			t.Errorf("%s: %v, want %q", verb, err, remedy)
		}
		t.Logf("%s: %v", verb, err)
		same(t, f.onHost(t), filesOf(1))
	}
	f.want(t, 1, Staged)
	if err := again(); err != nil {
		t.Fatal(err)
	}
	f.step(t, 2, "switch", "confirm")
	f.want(t, 2, Settled)
}

// Who isn't root is told so.
func TestNotRoot(t *testing.T) {
	base := shm(t)
	f := farmIn(t, base)
	f.push(t, 1)
	said := func() (string, bool) { // what a stage says, and whether it failed
		if !isRoot() {
			if err := os.Chmod(f.dir, 0o500); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(f.dir, 0o700)
			err := f.do("stage", 2)
			return fmt.Sprint(err), err != nil
		}
		bin := filepath.Join(base, "machine.test")
		b, err := os.ReadFile(os.Args[0])
		if err := errors.Join(err, os.WriteFile(bin, b, 0o755), os.Chmod(base, 0o755)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin)
		cmd.Env = append(os.Environ(), childEnv+"=stage 2", childBase+"="+base)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		return string(out), errors.As(err, &exit) && exit.ExitCode() == 3
	}
	if text, failed := said(); !failed || !strings.Contains(text, "must run as root") || !strings.Contains(text, base) {
		t.Error(text)
	}
	f.want(t, 1, Settled)
}
