package farm

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

// Programs are the paths of svm-fwd and svm-rs.
type Programs struct{ FWD, RS string }

// Dir is the folder that they are in.
func (p Programs) Dir() string { return filepath.Dir(p.FWD) }

// FindPrograms takes svm-fwd and svm-rs from beside this program, from the
// source tree (built into dir), or from PATH.
func FindPrograms(ctx context.Context, dir string) (Programs, error) {
	if exe, err := os.Executable(); err == nil {
		if p, err := InFolder(filepath.Dir(exe)); err == nil {
			return p, nil
		}
	}
	src, err := GoCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", module)
	if err == nil && src != "" {
		if _, err := GoCommand(ctx, src, "build", "-o", dir+"/", "./cmd/svm-fwd", "./cmd/svm-rs"); err != nil {
			return Programs{}, err
		}
		return InFolder(dir)
	}
	fwd, err := exec.LookPath("svm-fwd")
	if err == nil {
		return InFolder(filepath.Dir(fwd))
	}
	return Programs{}, fmt.Errorf("svm-fwd is neither beside this program nor in PATH, "+
		"and this is not the source tree (%w); run inside it, or name the folder with --bin", err)
}

// InFolder takes both programs from a folder.
func InFolder(dir string) (Programs, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Programs{}, err
	}
	p := Programs{filepath.Join(dir, "svm-fwd"), filepath.Join(dir, "svm-rs")}
	for _, path := range []string{p.FWD, p.RS} {
		if _, err := os.Stat(path); err != nil {
			return Programs{}, err
		}
	}
	return p, nil
}

// GoCommand runs the go tool in a directory and returns what it printed.
func GoCommand(ctx context.Context, dir string, args ...string) (string, error) {
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
