package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func withSecrets(t testing.TB, f *farm) Medium {
	t.Helper()
	m := f.medium(t)
	sealed, err := sealAll(f.secrets, phrase, 4)
	if err != nil {
		t.Fatal(err)
	}
	m.Secrets = sealed
	return m
}

func TestImageRoundTrip(t *testing.T) {
	f := newFarm(t, 3)
	for _, size := range []Size{Floppy, USB} {
		for _, m := range []Medium{f.medium(t), withSecrets(t, f)} {
			path := filepath.Join(t.TempDir(), "medium.img")
			if err := WriteImage(path, size, m); err != nil {
				t.Fatal(err)
			}
			fi, err := os.Stat(path)
			if err != nil || fi.Size() != int64(size) || fi.Mode() != 0o600 {
				t.Errorf("%v, %v", fi, err)
			}
			got, err := ReadImage(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bundle, m.Bundle) || !bytes.Equal(got.Signature, m.Signature) || !bytes.Equal(got.Secrets, m.Secrets) {
				t.Error("another medium came back")
			}
			if _, err := Open(got.Bundle, got.Signature, f.key.Public()); err != nil {
				t.Error(err)
			}
			if labelOf(path) != Label {
				t.Errorf("label %q", labelOf(path))
			}
		}
	}
}

// What people find on the medium, by other people's tools.
func TestImageByTools(t *testing.T) {
	tool(t, "fsck.fat")
	tool(t, "mdir")
	tool(t, "mtype")
	f := newFarm(t, 3)
	for _, size := range []Size{Floppy, USB} {
		m := withSecrets(t, f)
		path := filepath.Join(t.TempDir(), "medium.img")
		if err := WriteImage(path, size, m); err != nil {
			t.Fatal(err)
		}
		out := run(t, "fsck.fat", "-n", "-v", path) // exit status 1 for the smallest flaw
		if strings.Contains(out, "Reclaimed") || strings.Contains(out, "differences") {
			t.Errorf("fsck.fat mends something:\n%s", out)
		}
		out = run(t, "mdir", "-i", path)
		for _, want := range []string{Label, "README   TXT", nameCluster, nameMachines, nameBundle, nameSignature, nameSecrets, "2026-11-23   3:00", "6 files"} {
			if !strings.Contains(out, want) {
				t.Errorf("mdir shows no %q:\n%s", want, out)
			}
		}
		if got := run(t, "mtype", "-i", path, "::/"+nameCluster); got != string(f.in.YAML) {
			t.Errorf("cluster.yaml is another one")
		}
		if got := run(t, "mtype", "-i", path, "::/"+nameBundle); got != string(m.Bundle) {
			t.Errorf("svm.json is another one")
		}
		readme := run(t, "mtype", "-i", path, "::/"+nameReadme)
		for _, want := range []string{"Cluster         shop\r\n", "Generation      7\r\n", f.key.ID(), "more servers for the sale", "passphrase"} {
			if !strings.Contains(readme, want) {
				t.Errorf("README has no %q:\n%s", want, readme)
			}
		}
		if strings.Count(readme, "\n") != strings.Count(readme, "\r\n") {
			t.Error("README with mixed line ends")
		}
		table := run(t, "mtype", "-i", path, "::/"+nameMachines)
		for _, want := range []string{"eds1  director     192.168.1.2, 10.1.2.2  192.168.1.100, 192.168.1.101", "eps3  real server  10.1.10.12"} {
			if !strings.Contains(table, want) {
				t.Errorf("machines.txt has no %q:\n%s", want, table)
			}
		}
	}
}

func TestImageIsReproducible(t *testing.T) {
	f := newFarm(t, 3)
	m := withSecrets(t, f)
	for _, size := range []Size{Floppy, USB} {
		a, err := Image(size, m)
		if err != nil {
			t.Fatal(err)
		}
		// go-diskfs takes the time of day in steps of two seconds: another day would show.
		t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
		b, err := Image(size, m)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Error("the same medium gave other bytes")
		}
		if binary.LittleEndian.Uint32(a[39:]) == 0 {
			t.Error("no serial number")
		}
	}
}

func TestFloppyHolds200Servers(t *testing.T) {
	f := newFarm(t, 200)
	m := withSecrets(t, f)
	img, err := Image(Floppy, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("svm.json of 202 machines: %d bytes; the image is %d", len(m.Bundle), len(img))
	m, err = readMedium("it", bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Open(m.Bundle, m.Signature, f.key.Public()); err != nil || len(b.Machines) != 202 {
		t.Error(err)
	}
}

func TestImageRefuses(t *testing.T) {
	f := newFarm(t, 1)
	good := withSecrets(t, f)
	other := newFarm(t, 1).medium(t)
	big := newFarm(t, 1)
	// A comment as long as the cluster file may be: three copies of it in the bundle.
	big.in.YAML = append(big.in.YAML, "# "+strings.Repeat("x", 1<<20)+"\n"...)
	for name, c := range map[string]struct {
		size Size
		m    Medium
		want error
		text string
	}{
		"too large":          {Floppy, big.medium(t), MediumTooSmall, "--usb"},
		"no bundle":          {Floppy, Medium{Signature: good.Signature}, Damaged, ""},
		"no signature":       {Floppy, Medium{Bundle: good.Bundle}, Unsigned, ""},
		"another signature":  {Floppy, Medium{Bundle: good.Bundle, Signature: other.Signature}, ForeignKey, ""},
		"secrets too large":  {USB, Medium{good.Bundle, good.Signature, make([]byte, maxSecrets+1)}, TooLarge, ""},
		"an odd size":        {720 << 10, good, nil, "737280"},
		"a bundle too large": {USB, Medium{Bundle: make([]byte, MaxBundle+1), Signature: good.Signature}, TooLarge, ""},
	} {
		dir := t.TempDir()
		err := WriteImage(filepath.Join(dir, "x.img"), c.size, c.m)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v; want %v with %q", name, err, c.want, c.text)
		}
		if len(listing(t, dir)) != 0 {
			t.Errorf("%s: something was written", name)
		}
	}
	if err := WriteImage(filepath.Join(t.TempDir(), "x.img"), USB, big.medium(t)); err != nil {
		t.Errorf("a stick is large enough: %v", err)
	}
}

// Filled to the last cluster, and by one more byte.
func TestRoomToTheLastCluster(t *testing.T) {
	tool(t, "fsck.fat")
	for _, size := range []Size{Floppy, USB} {
		cluster, clusters := 512, 2846
		if size == USB {
			cluster, clusters = 1024, 32621
		}
		files := []imageFile{{nameBundle, make([]byte, cluster*(clusters-1))}, {nameSignature, []byte("s")}}
		if err := checkRoom(size, files); err != nil {
			t.Fatal(err)
		}
		disk := &memDisk{b: make([]byte, size)}
		if err := fill(disk, size, files); err != nil {
			t.Fatal(err)
		}
		if err := normalise(disk, time.Now(), Medium{}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "full.img")
		if err := os.WriteFile(path, disk.b, 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "fsck.fat", "-n", path)
		files[0].data = append(files[0].data, 0)
		if err := checkRoom(size, files); !errors.Is(err, MediumTooSmall) {
			t.Errorf("one byte more: %v", err)
		}
	}
}

func TestDOSTime(t *testing.T) {
	for _, c := range []struct {
		in          time.Time
		date, clock uint16
	}{
		{time.Date(2026, 11, 23, 3, 0, 1, 0, time.UTC), 46<<9 | 11<<5 | 23, 3 << 11},
		{time.Date(2026, 11, 23, 1, 30, 59, 0, time.FixedZone("", 3600)), 46<<9 | 11<<5 | 23, 30<<5 | 29},
		{time.Time{}, 1<<5 | 1, 0},
		{time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC), 127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29},
	} {
		if date, clock := dosTime(c.in); date != c.date || clock != c.clock {
			t.Errorf("%v: %#x %#x, want %#x %#x", c.in, date, clock, c.date, c.clock)
		}
	}
}
