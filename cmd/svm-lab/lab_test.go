package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// labBinary builds svm-lab and what it shows into a folder.
func labBinary(t *testing.T) string {
	t.Helper()
	netlab.New(t) // skips where a lab is not possible
	if _, err := exec.LookPath("go"); err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	if _, err := farm.GoCommand(t.Context(), "", "build", "-o", dir+"/", "../svm-lab", "../svm-fwd", "../svm-rs"); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "svm-lab")
}

// outside is the environment of a process that knows nothing of this test's own
// namespaces, so that svm-lab makes its own.
func outside(more ...string) []string {
	return append(append(os.Environ(), "SVM_NETLAB="), more...)
}

// TestLab runs the whole farm, in all topologies, as a user would.
func TestLab(t *testing.T) {
	bin := labBinary(t)
	for _, args := range [][]string{
		{"--topology", "all", "--fast"},
		{"--fast", "--family", "4", "--servers", "1", "--scheduler", "mh"},
		{"--fast", "--family", "6", "--servers", "2", "--scheduler", "rr"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			tmp := t.TempDir()
			cmd := exec.CommandContext(ctx, bin, args...)
			cmd.Env = outside("TMPDIR=" + tmp)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{" 0 failed, over ", "✓ replies do not pass the director", "✓ kill -9 eds1: eds2 takes over", "): 0 broke", "✓ eds1 comes back", "✓ everything ended on request"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			if strings.Contains(string(out), "✗") || strings.Contains(string(out), "\x1b") {
				t.Errorf("a failure, or colours without a terminal:\n%s", out)
			}
			if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestLabTellsFailure has a director that forwards nothing: the exit code is 1
// and its log is shown.
func TestLabTellsFailure(t *testing.T) {
	bin := labBinary(t)
	fwd := filepath.Join(filepath.Dir(bin), "svm-fwd")
	script := "#!/bin/sh\necho the director has no mind to >&2\nexit 7\n"
	if err := os.Remove(fwd); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fwd, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--fast")
	cmd.Env = outside()
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Errorf("exit: %v, want code 1", err)
	}
	for _, want := range []string{"the director has no mind to", " ended early: exit status 7", "FAILED 0 requests answered"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestInterrupt stops the lab in the middle: it goes at once and tidies up.
func TestInterrupt(t *testing.T) {
	bin := labBinary(t)
	tmp := t.TempDir()
	var out strings.Builder
	cmd := exec.Command(bin, "--fast", "--keep")
	cmd.Env = outside("TMPDIR=" + tmp)
	pr, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for !strings.Contains(out.String(), "stays up until") {
		n, err := pr.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("exit: %v, want code 130", err)
		}
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Error("still there 20 s after the interrupt")
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
