package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What can't work is said before anything is opened.
func TestAgentRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "station.pub")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"an argument":       {[]string{"eps1"}, "no arguments are taken"},
		"too often":         {[]string{"--every", "1ms"}, "want at least 100ms"},
		"a director's name": {[]string{"--director", "eds1"}, `--director "eds1": want an address`},
		"no pin":            {[]string{"--pin", empty + ".not"}, "no such file"},
		"an empty pin":      {[]string{"--pin", empty}, "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), append([]string{"svm-rs", "agent"}, c.args...), &out, &errs); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(errs.String(), c.says) || out.Len() != 0 {
				t.Errorf("says %q and %q, want %q", errs.String(), out.String(), c.says)
			}
		})
	}
}

func TestDirectorAddress(t *testing.T) {
	for text, want := range map[string]string{
		"192.168.2.2": "192.168.2.2:8485", "192.168.2.2:99": "192.168.2.2:99",
		"fd00:2::2": "[fd00:2::2]:8485", "[fd00:2::2]:99": "[fd00:2::2]:99",
	} {
		if got, err := directorAddress(text); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
