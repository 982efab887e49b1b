package pair

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

func TestMain(m *testing.M) {
	if asked, err := farm.Serve(); asked {
		if err != nil {
			fmt.Fprintln(os.Stderr, "web server:", err)
			os.Exit(1)
		}
		return
	}
	netlab.Main(m)
	if dir := built.dir; dir != "" {
		_ = os.RemoveAll(dir)
	}
}

// built are the programs under test, made by whichever test comes first.
var built struct {
	once sync.Once
	dir  string
	farm.Programs
	err error
}

func programs(t testing.TB) farm.Programs {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "svm-pair-"); built.err != nil {
			return
		}
		if built.err = os.Chmod(built.dir, 0o755); built.err == nil {
			built.Programs, built.err = farm.FindPrograms(context.Background(), built.dir)
		}
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

// tool finds a program of the machine.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require(t, err)
	return path
}
