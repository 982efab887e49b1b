package ha

import (
	"os"
	"os/exec"
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
	if os.Getenv("SVM_REQUIRE") == "1" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
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
