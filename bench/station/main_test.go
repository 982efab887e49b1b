package station

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

func TestMain(m *testing.M) {
	if Reborn() {
		return
	}
	if asked, err := farm.Serve(); asked {
		if err != nil {
			fmt.Fprintln(os.Stderr, "web server:", err)
			os.Exit(1)
		}
		return
	}
	// Most of a push is waiting, whatever the number of processors.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	netlab.Main(m)
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// built are the programs under test, made by whichever test comes first.
var built struct {
	once sync.Once
	dir  string
	Programs
	err error
}

func programs(t testing.TB) Programs {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "svm-station-"); built.err != nil {
			return
		}
		ctx := context.Background()
		if built.Programs.Programs, built.err = farm.FindPrograms(ctx, built.dir); built.err != nil {
			return
		}
		built.EMS = filepath.Join(built.dir, "svm-ems")
		_, built.err = farm.GoCommand(ctx, "../..", "build", "-o", built.EMS, "./cmd/svm-ems")
	})
	require(t, built.err)
	return built.Programs
}

// require skips the test for want of something that the machine lacks. With
// SVM_REQUIRE=1 that is a failure.
func require(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("SVM_REQUIRE") == "1":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// tools skips the test where the machine lacks a program.
func tools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := exec.LookPath(name)
		require(t, err)
	}
}

// disks is a directory in memory: the machines sync a lot, and share one real disk.
func disks(t *testing.T) string {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Logf("no tmpfs for the machines' disks: %v", err)
		return dir
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newFarm builds the farm with so many real servers, all machines booted and bare.
func newFarm(t *testing.T, servers int) *Farm {
	t.Helper()
	tools(t, "/usr/sbin/sshd", "ssh-keygen")
	p := programs(t)
	f := &Farm{Programs: p, Farm: &farm.Farm{
		Lab: netlab.New(t), Topology: farm.Topologies()[0], Families: []farm.Family{4}, Dir: disks(t), Programs: p.Programs, Elect: true,
	}}
	f.Build(servers)
	if err := f.Furnish(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range append(f.Machines(), f.EMS) {
				t.Logf("--- %s\n%s", m.Name(), m.Log())
			}
		}
		if err := f.Off(); err != nil {
			t.Error(err)
		}
	})
	return f
}
