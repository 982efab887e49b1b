package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const module = "github.com/svm-cluster/svm"

// programs are the paths of the binaries under show.
type programs struct{ fwd, rs string }

// dir is the folder that they are in.
func (p programs) dir() string { return filepath.Dir(p.fwd) }

// findPrograms takes svm-fwd and svm-rs from beside this program, from the
// source tree (built into dir), or from PATH.
func findPrograms(ctx context.Context, dir string) (programs, error) {
	if exe, err := os.Executable(); err == nil {
		if p, err := inFolder(filepath.Dir(exe)); err == nil {
			return p, nil
		}
	}
	src, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", module)
	if err == nil && src != "" {
		if _, err := goCommand(ctx, src, "build", "-o", dir+"/", "./cmd/svm-fwd", "./cmd/svm-rs"); err != nil {
			return programs{}, err
		}
		return inFolder(dir)
	}
	fwd, err := exec.LookPath("svm-fwd")
	if err == nil {
		return inFolder(filepath.Dir(fwd))
	}
	return programs{}, fmt.Errorf("svm-fwd is neither beside this program nor in PATH, "+
		"and this is not the source tree (%w); run inside it, or name the folder with --bin", err)
}

func inFolder(dir string) (programs, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return programs{}, err
	}
	p := programs{filepath.Join(dir, "svm-fwd"), filepath.Join(dir, "svm-rs")}
	for _, path := range []string{p.fwd, p.rs} {
		if _, err := os.Stat(path); err != nil {
			return programs{}, err
		}
	}
	return p, nil
}

// goCommand runs the go tool and returns what it printed.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}
