package render

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden pins every byte: a machine's files, rendered by a director of another
// version, must be those that the station signed.
func TestGolden(t *testing.T) {
	for _, c := range everything(t, testInput()) {
		golden(t, c.Node+".golden", shown(c))
		golden(t, c.Node+".json", c.Manifest().Encode())
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew; that is a change of format for every farm):\n%s", path, got)
	}
}
