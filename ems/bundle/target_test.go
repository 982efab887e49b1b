package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWriteImageToFile(t *testing.T) {
	f := newFarm(t, 1)
	m := f.medium(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "medium.img")
	link := filepath.Join(dir, "link")
	if err := os.WriteFile(path, []byte("older"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := WriteImage(link, Floppy, m); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadImage(path); err != nil {
		t.Error(err)
	}
	if fi, err := os.Lstat(link); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced, not what it points to")
	}
	if got := listing(t, dir); len(got) != 2 {
		t.Errorf("%d files are left behind", len(got)-2)
	}
	for _, bad := range []string{dir, filepath.Join(dir, "no", "folder"), "/dev/null"} {
		if err := WriteImage(bad, Floppy, m); err == nil {
			t.Errorf("%s was written", bad)
		}
	}
	if got := listing(t, dir); len(got) != 2 {
		t.Error("a refused write left something behind")
	}
}

func TestWriteDevice(t *testing.T) {
	f := newFarm(t, 1)
	img, err := Image(Floppy, f.medium(t))
	if err != nil {
		t.Fatal(err)
	}
	f.in.Generation++
	newer, err := Image(Floppy, f.medium(t))
	if err != nil {
		t.Fatal(err)
	}
	empty := rawVolume([]rawFile{{"NO NAME    ", attrVolume, 0, 0}}, nil)
	photos := rawVolume([]rawFile{{"NO NAME    ", attrVolume, 0, 0}, {"HOLIDAY JPG", 0x20, 2, 10}}, map[int]uint16{2: 0xfff})
	disk := make([]byte, 4<<20)
	copy(disk[1024:], "\x53\xef ext4 or whatever")
	for name, c := range map[string]struct {
		was   []byte
		force bool
		want  error
	}{
		"blank":             {make([]byte, 4<<20), false, nil},
		"just large enough": {make([]byte, Floppy), false, nil},
		"too small":         {make([]byte, Floppy-512), false, MediumTooSmall},
		"too small, forced": {make([]byte, Floppy-512), true, MediumTooSmall},
		"formatted, empty":  {empty, false, nil},
		"an older medium":   {img, false, nil},
		"holiday pictures":  {photos, false, MediumNotOurs},
		"pictures, forced":  {photos, true, nil},
		"another disk":      {disk, false, MediumNotOurs},
		"disk, forced":      {disk, true, nil},
		"no size at all":    {nil, true, MediumTooSmall},
		"a cut volume":      {photos[:1<<20], false, MediumTooSmall},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "device")
			if err := os.WriteFile(path, c.was, 0o600); err != nil {
				t.Fatal(err)
			}
			dev, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			err = writeDevice(path, dev, newer, c.force)
			got, rerr := os.ReadFile(path)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if c.want != nil {
				if !errors.Is(err, c.want) || Remedy(err) == "" {
					t.Errorf("%v, want %v and a remedy", err, c.want)
				}
				if !bytes.Equal(got, c.was) {
					t.Error("it was written to all the same")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got[:Floppy], newer) || len(got) != len(c.was) || !bytes.Equal(got[Floppy:], c.was[Floppy:]) {
				t.Error("not the image and what followed it")
			}
		})
	}
}

// pulled is a device that is pulled out after some writes.
type pulled struct {
	memDisk
	writes int
}

func (p *pulled) Sync() error { return nil }
func (p *pulled) Seek(int64, int) (int64, error) {
	return int64(len(p.b)), nil
}
func (p *pulled) WriteAt(b []byte, off int64) (int, error) {
	if p.writes--; p.writes < 0 {
		return 0, errors.New("no such device")
	}
	return p.memDisk.WriteAt(b, off)
}

func TestPulledOut(t *testing.T) {
	f := newFarm(t, 1)
	old, err := Image(Floppy, f.medium(t))
	if err != nil {
		t.Fatal(err)
	}
	f.in.Generation++
	img, err := Image(Floppy, f.medium(t))
	if err != nil {
		t.Fatal(err)
	}
	for writes := range 3 {
		d := &pulled{memDisk{bytes.Clone(old)}, writes}
		if err := writeDevice("it", d, img, false); err == nil {
			t.Fatal("written without writes")
		}
		m, err := readMedium("it", d, int64(len(d.b)))
		if err == nil && !bytes.Equal(d.b, old) {
			t.Errorf("after %d writes it is a medium, neither the old nor the new one (%d bytes)", writes, len(m.Bundle))
		}
	}
}

// tree makes a stand-in for /sys and /proc.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCheckIdle(t *testing.T) {
	const mounts = "22 1 259:3 / / rw - ext4 /dev/nvme0n1p3 rw\n30 22 8:17 / /mnt/stick rw - vfat /dev/sdb1 rw\n"
	sys := map[string]string{
		"proc/self/mountinfo":               mounts,
		"sys/dev/block/8:16/sdb1/partition": "1\n",
		"sys/dev/block/8:16/sdb1/dev":       "8:17\n",
		"sys/dev/block/8:17/partition":      "1\n",
		"sys/dev/block/8:32/sdc1/partition": "1\n",
		"sys/dev/block/8:32/sdc1/dev":       "8:33\n",
		"sys/dev/block/8:33/holders/md0":    "",
		"sys/dev/block/8:48/holders/dm-0":   "",
	}
	root := tree(t, sys)
	dev := func(major, minor uint64) uint64 {
		return minor&0xff | major&0xfff<<8 | minor&^0xff<<12 | major&^0xfff<<32
	}
	for name, c := range map[string]struct {
		rdev uint64
		want string
	}{
		"a mounted partition":      {dev(8, 17), "/mnt/stick"},
		"a disk with one":          {dev(8, 16), "sdb1 is mounted at /mnt/stick"},
		"the system's disk":        {dev(259, 3), "mounted at /"},
		"a partition held":         {dev(8, 33), "md0"},
		"a disk with one held":     {dev(8, 32), "md0"},
		"a disk held":              {dev(8, 48), "dm-0"},
		"a floppy":                 {dev(2, 0), ""},
		"another with a high name": {dev(259, 259), ""},
	} {
		err := checkIdle(root, "/dev/x", c.rdev)
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.want != "" && (!errors.Is(err, MediumInUse) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := checkIdle(t.TempDir(), "/dev/x", 0); err == nil {
		t.Error("without mountinfo nothing is known, and it was taken for idle")
	}
}

func TestFindMedia(t *testing.T) {
	f := newFarm(t, 1)
	img, err := Image(Floppy, f.medium(t))
	if err != nil {
		t.Fatal(err)
	}
	byBootSector := bytes.Clone(img) // no label in the directory any more
	copy(byBootSector[512*19:], "\xe5")
	otherLabel := rawVolume([]rawFile{{"NO NAME    ", attrVolume, 0, 0}}, nil)
	copy(otherLabel[43:], "SVM-CONFIG ") // the directory's rules
	dev := t.TempDir()
	sys := map[string]string{}
	for name, b := range map[string][]byte{
		"fd0": img, "sda": make([]byte, 1<<20), "sda1": byBootSector, "sdb": otherLabel, "sdc": []byte("x"),
		"empty": img, "hidden": img, "cciss/c0d0": img, "sdd": img[:1<<20],
	} {
		path := filepath.Join(dev, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		sys[strings.ReplaceAll(name, "/", "!")+"/size"] = "2880\n"
	}
	sys["empty/size"], sys["hidden/hidden"], sys["gone/size"] = "0\n", "1\n", "5\n"
	finder := Finder{Sys: tree(t, sys), Dev: dev}
	got, err := finder.Find(context.Background())
	want := []string{dev + "/cciss/c0d0", dev + "/fd0", dev + "/sda1"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("found %q, %v; want %q", got, err, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := finder.Find(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := (Finder{Sys: filepath.Join(dev, "none")}).Find(context.Background()); err == nil {
		t.Error("no /sys, no error")
	}
}
