package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzImport: whatever stands in a file, import says something and does not panic.
func FuzzImport(f *testing.F) {
	raw, err := os.ReadFile(filepath.Join("testdata", "script", "import.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	for part := range strings.SplitSeq(string(raw), "\n-- ") {
		f.Add(part)
	}
	f.Add("virtual_server \"{\" { } real_server")
	f.Add("-A -t 1.2.3.4:80 -p\n-a -t 1.2.3.4:80 -r 1.2.3.4 -w")
	f.Fuzz(func(t *testing.T, text string) {
		for _, read := range []func(*draft, string) error{importIPVSADM, importKeepalived} {
			d := &draft{file: "x"}
			if read(d, text) == nil {
				_ = d.yaml()
			}
		}
	})
}
