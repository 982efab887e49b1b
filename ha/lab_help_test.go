package ha

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// needTool skips without the tool, or fails with SVM_REQUIRE=1.
func needTool(t *testing.T, name string) {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if _, err := exec.LookPath(dir + name); err == nil {
			return
		}
	}
	lacks(t, name+" is not installed")
}

// needUsers wants a namespace with more than one user: tcpdump insists on setting
// its groups, which one of nobody's forbids.
func needUsers(t *testing.T) {
	t.Helper()
	m, err := os.ReadFile("/proc/self/uid_map")
	if f := strings.Fields(string(m)); err != nil || len(f) == 3 && f[2] == "1" {
		lacks(t, "this user namespace has one user only")
	}
}

func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SVM_REQUIRE") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// poll tells whether cond becomes true in time.
func poll(within time.Duration, cond func() bool) bool {
	for end := time.Now().Add(within); !cond(); time.Sleep(ms) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
