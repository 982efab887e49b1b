package render

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestUnitsOfMachines reads what matters in them line by line.
func TestUnitsOfMachines(t *testing.T) {
	all := everything(t, edited(t, "delivery: {ssh_port: 2222}", "delivery: {ssh_user: deploy}"))
	eds1, eps1 := all[0], all[2]
	for _, c := range []struct {
		in         *Config
		unit, line string
		there      bool
	}{
		{eds1, "svm-fwd.service", "ExecStart=/usr/local/bin/svm-fwd run --config /etc/svm/cluster.yaml --node eds1", true},
		{eds1, "svm-fwd.service", "ExecStartPre=/usr/local/bin/svm-fwd check /etc/svm/cluster.yaml", true},
		{eds1, "svm-provision.service", "ExecStart=/usr/local/bin/svm-fwd provision --node eds1", true},
		{eds1, "svm-receiver@.service", "ExecStopPost=/usr/local/bin/svm-fwd receive --recover", true},
		{eds1, "svm-receiver.socket", "SocketUser=deploy", true},
		{eds1, "svm-receiver.socket", "SocketUser=svm-push", false},
		{eps1, "svm-receiver.socket", "SocketUser=deploy", true},
		{eps1, "svm-receiver@.service", "ExecStart=/usr/local/bin/svm-rs receive --direct --node eps1", true},
		{eps1, "svm-receiver@.service", "ExecStopPost=/usr/local/bin/svm-rs receive --recover", true},
		{eps1, "svm-rs.service", "ExecStart=/usr/local/bin/svm-rs apply --also /var/lib/svm-config/previous/root/etc/svm/cluster.yaml --config /etc/svm/cluster.yaml --node eps1", true},
		{eps1, "svm-rs.service", "ExecReload=/usr/local/bin/svm-rs apply --also /var/lib/svm-config/previous/root/etc/svm/cluster.yaml --config /etc/svm/cluster.yaml --node eps1", true},
		{eps1, "svm-agent.service", "ExecStart=/usr/local/bin/svm-rs agent --node eps1", true},
	} {
		lines := strings.Split(c.in.file(t, unitDir+c.unit), "\n")
		if slices.Contains(lines, c.line) != c.there {
			t.Errorf("%s's %s: want the line %q: %v", c.in.Node, c.unit, c.line, c.there)
		}
	}
	for _, f := range eps1.Files {
		if strings.Contains(string(f.Data), "bin/svm-fwd") {
			t.Errorf("a real server's %s runs the director's program", f.Path)
		}
	}
}

func TestBaseUnits(t *testing.T) {
	for kind, want := range map[Kind]string{
		Director:   "svm-firstboot.service svm-receiver.socket svm-receiver@.service",
		RealServer: "svm-agent.service svm-receiver.socket svm-receiver@.service",
		"station":  "",
	} {
		var got []string
		for _, f := range BaseUnits(kind, "deploy", "m1") {
			got = append(got, filepath.Base(f.Path))
			if why := pathProblem(f.Path); why != "" || f.Mode != 0o644 || f.Secret {
				t.Errorf("%s: %s %#o", f.Path, why, f.Mode)
			}
			if !strings.HasSuffix(f.Path, ".socket") && !strings.Contains(string(f.Data), " --node m1\n") {
				t.Errorf("%s goes by the host name:\n%s", f.Path, f.Data)
			}
			if strings.HasSuffix(f.Path, ".socket") && !strings.Contains(string(f.Data), "\nSocketUser=deploy\n") {
				t.Errorf("the socket is another's:\n%s", f.Data)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", kind, got, want)
		}
	}
	for _, f := range BaseUnits(Director, "", "") {
		if strings.HasSuffix(f.Path, ".socket") && (!strings.Contains(string(f.Data), "\nSocketUser=svm-push\n") || !strings.Contains(string(f.Data), "\nListenStream="+ReceiverSocket+"\n")) {
			t.Errorf("the socket without a user:\n%s", f.Data)
		}
	}
}

// TestSystemdTakesUnits has systemd read every unit, as it was embedded and as it
// is rendered, and say how much the sandbox leaves open.
func TestSystemdTakesUnits(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	all := everything(t, testInput())
	for name, units := range map[string][]File{
		"director": all[0].Files, "realserver": all[2].Files,
		"bare director": BaseUnits(Director, "", ""), "bare real server": BaseUnits(RealServer, "", "eps1"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// The programs need not be installed where the tests run.
			for _, p := range []string{"svm-fwd", "svm-rs"} {
				if err := os.WriteFile(filepath.Join(dir, p), []byte("#!/bin/sh\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var paths []string
			for _, f := range units {
				if filepath.Dir(f.Path)+"/" != unitDir {
					continue
				}
				paths = append(paths, filepath.Join(dir, filepath.Base(f.Path)))
				text := strings.ReplaceAll(string(f.Data), binDir, dir+"/")
				if err := os.WriteFile(paths[len(paths)-1], []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if len(paths) < 3 {
				t.Fatalf("only %v", paths)
			}
			if out := analyze(t, tool, append([]string{"verify", "--man=no"}, paths...)...); out != "" {
				t.Errorf("systemd says:\n%s", out)
			}
			for _, p := range paths {
				if strings.HasSuffix(p, ".service") {
					_ = analyze(t, tool, "security", "--offline=yes", "--no-pager", "--threshold="+strconv.Itoa(35), p)
				}
			}
		})
	}
}

func analyze(t *testing.T, tool string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
