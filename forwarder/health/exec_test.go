package health

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
)

func TestExec(t *testing.T) {
	noLeak(t)
	t.Setenv("SECRET", "must not be seen")
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	for _, tt := range []struct {
		name    string
		command []string
		outcome Outcome
		text    string
	}{
		{"exit 0", sh("exit 0"), Pass, "exit status 0"},
		{"first line", sh("echo; echo one; echo two"), Pass, "one"},
		{"exit 2", sh("exit 2"), Fail, "exit status 2"},
		{"exit 1 with a reason", sh("echo no disk >&2; exit 1"), Fail, "exit status 1: no disk"},
		{"killed", sh("kill -9 $$"), Fail, "signal: killed"},
		{"no shell", []string{"/bin/echo", "$HOME; *"}, Pass, "$HOME; *"},
		{"control characters", []string{"/bin/echo", "a\x1b[31mb\x00"[:7]}, Pass, "a.[31mb"},
		{"environment", sh("echo $SVM_KEY $SVM_VIP $SVM_PORT $SVM_MARK $SVM_SERVER $SVM_SERVER_ADDRESS $SVM_TIMEOUT.$SECRET"), Pass, "web/eps1 192.0.2.1 80 7 eps1 198.51.100.9 10."},
		{"endless output", sh("while :; do echo x; done & sleep 0.2; kill $!; exit 0"), Pass, "x"},
		{"no such program", []string{"/nonexistent/check"}, Fail, "fork/exec /nonexistent/check: no such file or directory; check.command must name a program that the daemon may run"},
		{"empty", nil, Fail, "check.command is empty; name the program and its arguments"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want(t, check(t, Target{
				Key: "web/eps1", Addr: netip.MustParseAddrPort("192.0.2.1:80"), Mark: 7, Server: "eps1",
				ServerAddr: netip.MustParseAddr("198.51.100.9"),
				Spec:       Spec{Type: Exec, Command: tt.command, Interval: 10 * time.Second, Timeout: 10 * time.Second},
			}), tt.outcome, tt.text)
		})
	}
}

// Neither the timeout nor the end of a program leaves its children behind.
func TestExecKillsGroup(t *testing.T) {
	noLeak(t)
	for _, tt := range []struct {
		name, script string
		outcome      Outcome
		text         string
	}{
		{"timeout", `sleep 1000 & echo $! > "$0"; wait`, Fail, "timeout after 300ms while running /bin/sh"},
		{"left behind with the output open", `sleep 1000 & echo $! > "$0"; echo bye`, Pass, "bye"},
		{"left behind with the output closed", `sleep 1000 >/dev/null 2>&1 & echo $! > "$0"; echo bye; exit 3`, Fail, "exit status 3: bye"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			timeout := 300 * time.Millisecond
			if tt.name != "timeout" {
				timeout = 10 * time.Second
			}
			want(t, check(t, Target{Addr: unused(t), Spec: Spec{Type: Exec, Command: []string{"/bin/sh", "-c", tt.script, file},
				Interval: 10 * time.Second, Timeout: timeout}}), tt.outcome, tt.text)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil {
				t.Fatal(err)
			}
			netlab.Eventually(t, 5*time.Second, func() bool { return dead(pid) }, "the child still runs")
		})
	}
}

// dead tells whether a process is gone or waits only to be reaped.
func dead(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}
