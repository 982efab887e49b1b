package station

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

const phrase = "five words that nobody else guesses"

// quick is phrase with little work, to save time.
func quick(t *testing.T) age.Recipient {
	t.Helper()
	to, err := age.NewScryptRecipient(phrase)
	if err != nil {
		t.Fatal(err)
	}
	to.SetWorkFactor(4)
	return to
}

func backedUp(t *testing.T, s *Station) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.backup(&b, quick(t)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBackupAndRestore(t *testing.T) {
	s := newStation(t)
	var b bytes.Buffer
	wants(t, s.Backup(&b, phrase), "without its lock")
	lock(t, s)
	commit(t, s, 2)
	if _, err := s.Enroll(machine(t, "eds1"), false); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteJournal(&Journal{Generation: 2, Outcome: Delivered}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Medium(2, phrase); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(&b, phrase); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{haFile, keyFile, sshFile} {
		key, err := os.ReadFile(s.path(secret))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b.Bytes(), key[:32]) {
			t.Errorf("%s can be read in the backup", secret)
		}
	}
	dir := filepath.Join(t.TempDir(), "new", "ems")
	restored, err := Restore(dir, &b, phrase)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.Dir(), "notes.txt")); err != nil {
		t.Fatal(err)
	}
	if got, want := tree(t, dir), tree(t, s.Dir()); got != want {
		t.Errorf("restored\n%s\nwant\n%s", got, want)
	}
	lock(t, restored)
	if g := commit(t, restored, 3); g.Stamp.Generation != 3 {
		t.Errorf("the restored station makes generation %d", g.Stamp.Generation)
	}
	_, err = Restore(dir, &b, phrase)
	wants(t, err, "isn't empty")
	wants(t, s.Backup(io.Discard, "short"), "characters")
}

func TestRestoreRefuses(t *testing.T) {
	good := backedUp(t, lock(t, newStation(t)))
	refused := func(name string, backup []byte, pass string, words ...string) {
		t.Helper()
		parent := t.TempDir()
		_, err := Restore(filepath.Join(parent, "ems"), bytes.NewReader(backup), pass)
		if err == nil {
			t.Errorf("%s: restored", name)
			return
		}
		wants(t, err, words...)
		if strings.Contains(err.Error(), phrase) {
			t.Errorf("%s: the error shows the passphrase", name)
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
	refused("another passphrase", good, "not that one at all", "wrong passphrase")
	refused("no passphrase", good, "", "passphrase is empty")
	refused("nothing", nil, phrase, "no backup")
	refused("another file", []byte("cluster: shop\n"), phrase, "no backup")
	for at := 0; at < len(good); at += 1 + len(good)/97 {
		refused("cut", good[:at], phrase)
		bad := bytes.Clone(good)
		bad[at] ^= 4
		refused("a bit flipped", bad, phrase)
	}
	refused("something behind it", append(bytes.Clone(good), "more"...), phrase, "damaged")
}

// entry is one file of a hostile archive.
type entry struct {
	header tar.Header
	data   []byte
}

func archive(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	sealed, err := age.Encrypt(&b, quick(t))
	if err != nil {
		t.Fatal(err)
	}
	zipped := gzip.NewWriter(sealed)
	w := tar.NewWriter(zipped)
	for _, e := range entries {
		e.header.Size = int64(len(e.data))
		if e.header.Mode == 0 {
			e.header.Mode = 0o600
		}
		if err := w.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []io.Closer{w, zipped, sealed} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestHostileBackups(t *testing.T) {
	head := entry{tar.Header{Name: backupHeadFile}, []byte(`{"format":1}`)}
	file := func(name string, data ...byte) entry { return entry{tar.Header{Name: name}, data} }
	for _, c := range []struct {
		name    string
		entries []entry
		words   string
	}{
		{"empty", nil, "empty"},
		{"no head", []entry{file("station.key")}, "no backup of a station"},
		{"a newer format", []entry{{tar.Header{Name: backupHeadFile}, []byte(`{"format":2}`)}}, "newer svm-ems"},
		{"a head that is none", []entry{file(backupHeadFile, 'x')}, "no backup of a station"},
		{"nothing else", []entry{head}, "no whole station"},
		{"out of the directory", []entry{head, file("../../etc/cron.d/x", 'x')}, "no station's"},
		{"out by the generations", []entry{head, file("generations/../../x", 'x')}, "no station's"},
		{"out by a relay", []entry{head, file("secrets/relay/..", 'x')}, "no station's"},
		{"absolute", []entry{head, file("/etc/passwd", 'x')}, "no station's"},
		{"backslashes", []entry{head, file(`generations\0000000001\meta.json`, 'x')}, "no station's"},
		{"a newline", []entry{head, file("station.key\n", 'x')}, "no station's"},
		{"another file", []entry{head, file("authorized_keys", 'x')}, "no station's"},
		{"a symlink", []entry{head, {tar.Header{Name: "station.key", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}, nil}}, "no file"},
		{"a symlinked directory", []entry{head, {tar.Header{Name: "generations", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, nil}}, "no file"},
		{"a hard link", []entry{head, {tar.Header{Name: "station.key", Typeflag: tar.TypeLink, Linkname: "/etc/shadow"}, nil}}, "no file"},
		{"a device", []entry{head, {tar.Header{Name: "station.key", Typeflag: tar.TypeChar}, nil}}, "no file"},
		{"a pipe", []entry{head, {tar.Header{Name: "station.key", Typeflag: tar.TypeFifo}, nil}}, "no file"},
		{"a directory", []entry{head, {tar.Header{Name: "generations/", Typeflag: tar.TypeDir}, nil}}, "no file"},
		{"a file twice", []entry{head, file("station.key", 'x'), file("station.key", 'y')}, "twice"},
		{"a bomb", []entry{head, file("roster.json", make([]byte, 17<<20)...)}, "too much"},
		{"a large key", []entry{head, file("station.key", make([]byte, 65<<10)...)}, "too much"},
		{"keys that are none", []entry{head, file("station.key", 'x'), file("station.pub", 'x')}, "no whole station"},
	} {
		parent := t.TempDir()
		_, err := Restore(filepath.Join(parent, "ems"), bytes.NewReader(archive(t, c.entries)), phrase)
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want something about %q", c.name, err, c.words)
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", c.name, left, err)
		}
	}
}

func TestRestoreRefusesHardWork(t *testing.T) {
	// A head that asks for 2^40 rounds; nobody made the file that would follow it.
	text := "age-encryption.org/v1\n-> scrypt 2XSRwVsgpa4bxIqEkyJYFQ 40\n" + strings.Repeat("A", 43) + "\n--- " + strings.Repeat("A", 43) + "\n"
	_, err := Restore(filepath.Join(t.TempDir(), "ems"), strings.NewReader(text), phrase)
	wants(t, err, "backup")
}
