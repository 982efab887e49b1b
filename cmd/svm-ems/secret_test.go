package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	testFile = `cluster: shop
ha: {key_file: /etc/svm/ha.key}
directors:
  - {name: eds1, priority: 200, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
  - {name: eds2, priority: 100, client: {device: eth0, address: 192.168.1.3}, server: {device: eth1, address: 192.168.2.3}}
realservers:
  - {name: eps1, address: 192.168.2.11}
services:
  - {name: web, vip: 192.168.1.100, ports: 80, servers: [{name: eps1}]}
`
	testPhrase = "five words that nobody guesses"
)

// TestNoSecretIsShown runs the commands that handle secrets, also on damaged ones, and
// looks for each secret in all that they print and in what they write for others.
func TestNoSecretIsShown(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "st")
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	yaml, phrase := file("cluster.yaml", testFile), file("phrase", testPhrase+"\n")
	var out bytes.Buffer
	run := func(want int, args ...string) {
		t.Helper()
		if code := execute(t.Context(), append([]string{"svm-ems", "--state", state}, args...), strings.NewReader(""), &out, &out); code != want {
			t.Errorf("svm-ems %s: exit %d\n%s", strings.Join(args, " "), code, out.String())
		}
	}
	run(0, "init", "--from", yaml)
	image, backup := filepath.Join(dir, "x.img"), filepath.Join(dir, "b.age")
	run(0, "image", "write", image, "--passphrase-file", phrase)
	run(0, "backup", backup, "--passphrase-file", phrase)
	run(0, "plan", "--offline", yaml)
	run(0, "check", yaml)
	run(0, "token")
	run(0, "history", "-j")
	run(0, "show")
	run(0, "image", "show", image)
	secrets := secretsOf(t, state)
	secrets["the passphrase"] = testPhrase
	// Damaged ones are not shown by the errors about them.
	for _, name := range []string{"station.key", "secrets/ha.key", "secrets/relay/eds1", "ssh/id_ed25519"} {
		path := filepath.Join(state, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Replace(good, []byte("\n"), []byte("\n!"), 1)
		if err := os.WriteFile(path, append([]byte("x"), bad...), 0o600); err != nil {
			t.Fatal(err)
		}
		if name != "ssh/id_ed25519" { // the way to machines only
			run(1, "commit", file("more.yaml", testFile+"# "+name+"\n"))
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, made := range []string{image, backup} {
		b, err := os.ReadFile(made)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		if info, err := os.Stat(made); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", made, info.Mode(), err)
		}
	}
	for name, text := range secrets {
		if bytes.Contains(out.Bytes(), []byte(text)) {
			t.Errorf("%s is shown", name)
		}
	}
}

// secretsOf are pieces of all secret keys of a station, by file.
func secretsOf(t *testing.T, state string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(state, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(state, path)
		secret := name == "station.key" || name == "ssh/id_ed25519" || strings.HasPrefix(name, "secrets/")
		if !secret {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		line := lines[len(lines)/2] // past heads and before ends
		if len(lines) == 2 {
			line = lines[1]
		}
		all[name] = line[len(line)-30:]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 5 {
		t.Fatalf("%d secrets: %v", len(all), all)
	}
	return all
}
