package ha

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ha.key")
	text := GenerateKey()
	if text == GenerateKey() {
		t.Fatal("two keys are the same")
	}
	write := func(s string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadKey(path); err == nil || !strings.Contains(err.Error(), "svm-fwd genkey") {
		t.Error(err)
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		write(text, mode)
		if key, err := ReadKey(path); err != nil || len(key) != KeySize {
			t.Error(mode, err)
		}
	}
	for _, tt := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{text, 0o640, "chmod 600"}, {text, 0o604, "chmod 600"}, {text, 0o660, "chmod 600"},
		{"", 0o600, "64 hex digits"}, {text[:63], 0o600, "64 hex digits"}, {text[:60] + "wxyz", 0o600, "hex digits only"},
		{strings.Repeat("0", 64), 0o600, "zeros"}, {strings.Repeat("ab", 4000), 0o600, "64 hex digits"},
	} {
		write(tt.text, tt.mode)
		_, err := ReadKey(path)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q, mode %o: %v", tt.text, tt.mode, err)
		} else if s := strings.TrimSpace(tt.text); len(s) > 8 && strings.Contains(err.Error(), s[:8]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	if _, err := ReadKey(t.TempDir()); err == nil {
		t.Error("a directory is no key file")
	}
}
