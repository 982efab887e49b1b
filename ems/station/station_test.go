package station

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/cluster"
)

func TestInit(t *testing.T) {
	s := newStation(t)
	var found []string
	err := filepath.WalkDir(s.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %04o", path, info.Mode().Perm())
		}
		if !e.IsDir() {
			name, _ := filepath.Rel(s.Dir(), path)
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	const g = "generations/0000000001/"
	want := []string{g + "bundle.json", g + "bundle.json.minisig", g + "cluster.yaml", g + "meta.json", g + "roster.json",
		"lock", "roster.json", "secrets/ha.key", "secrets/relay/eds1", "secrets/relay/eds2", "ssh/id_ed25519", "ssh/id_ed25519.pub",
		"station.key", "station.pub"}
	if got := strings.Join(found, " "); got != strings.Join(want, " ") {
		t.Errorf("files\n%s\nwant\n%s", got, strings.Join(want, " "))
	}
	key, err := os.ReadFile(s.path(haFile))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := hex.DecodeString(strings.TrimSuffix(string(key), "\n")); err != nil || len(raw) != 32 {
		t.Errorf("the pair's key isn't 64 hex digits and a newline")
	}
	newest, err := s.Newest()
	if err != nil {
		t.Fatal(err)
	}
	if newest.Stamp.Generation != 1 || newest.Note != "the first" || newest.Author != "alice@ems" || newest.Cluster != "shop" || !bytes.Equal(newest.YAML, farm(1)) {
		t.Errorf("generation %+v", newest.Record)
	}
	_, err = Init(t.Context(), initConfig(s.Dir()))
	wants(t, err, "is a station already, with generation 1")
}

func TestInitRefuses(t *testing.T) {
	dir := t.TempDir()
	cfg := initConfig(dir)
	cfg.YAML = []byte("cluster: shop\nnonsense: 1\n")
	_, err := Init(t.Context(), cfg)
	var problems cluster.Problems
	if !errors.As(err, &problems) {
		t.Errorf("a bad file: %v", err)
	}
	cfg = initConfig(dir)
	cfg.HAKey = []byte("secretsecret")
	_, err = Init(t.Context(), cfg)
	wants(t, err, "64 hex digits")
	if strings.Contains(err.Error(), "secretsecret") {
		t.Errorf("the error shows the key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Init(t.Context(), initConfig(dir))
	wants(t, err, "thesis.tex", "empty directory")
}

func TestInitWithTheKeyOfARunningPair(t *testing.T) {
	cfg := initConfig(filepath.Join(t.TempDir(), "ems"))
	key := strings.Repeat("0123456789abcdef", 4)
	cfg.HAKey = []byte(key + "\n")
	s, err := Init(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := s.Secrets(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"eds1", "eds2"} {
		if string(secrets[name].HAKey) != key+"\n" {
			t.Errorf("%s has another key", name)
		}
	}
	if bytes.Equal(secrets["eds1"].RelayKey, secrets["eds2"].RelayKey) {
		t.Error("both directors have one relay key")
	}
}

func TestOpenRefuses(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, ErrNotInit) {
		t.Errorf("no directory: %v", err)
	}
	for _, c := range []struct {
		name  string
		spoil func(s *Station) error
		words []string
	}{
		{"a key that others may read", func(s *Station) error { return os.Chmod(s.path(keyFile), 0o644) }, []string{"station.key", "0644", "chmod go="}},
		{"a directory that others may read", func(s *Station) error { return os.Chmod(s.dir, 0o755) }, []string{"0755", "chmod go="}},
		{"an SSH key that others may read", func(s *Station) error { return os.Chmod(s.path(sshFile), 0o640) }, []string{"id_ed25519", "0640"}},
		{"no key", func(s *Station) error { return os.Remove(s.path(keyFile)) }, []string{"station.key", "restore"}},
		{"an empty public key", func(s *Station) error { return os.WriteFile(s.path(pubFile), nil, 0o600) }, []string{"station.pub", "no minisign public key"}},
		{"no generation", func(s *Station) error { return os.RemoveAll(s.generationDir(1)) }, []string{"interrupted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStation(t)
			if err := c.spoil(s); err != nil {
				t.Fatal(err)
			}
			_, err := Open(s.Dir())
			wants(t, err, c.words...)
		})
	}
}

func TestForeignKey(t *testing.T) {
	s, other := lock(t, newStation(t)), newStation(t)
	key, err := os.ReadFile(other.path(keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path(keyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Commit("cluster.yaml", farm(2), Change{})
	wants(t, err, "not the other half", "restore")
}
