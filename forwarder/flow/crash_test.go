package flow

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// TestCrash copies the file at random moments while goroutines work, which is
// worse than a crash: the copy's pages are of different moments. Whatever it
// holds, New makes a consistent and usable table of it, with all entries that
// nobody touched.
func TestCrash(t *testing.T) {
	copies := 60
	if testing.Short() {
		copies = 10
	}
	dir := t.TempDir()
	cfg := Config{Capacity: 600, HalfOpen: 100, Path: filepath.Join(dir, "table"), BootID: "b"}
	table, _ := open(t, cfg)
	defer table.Close(true)
	l := &ledger{}
	const still = 100
	for n := range still {
		k := testKey(n)
		table.Insert(&k, table.Hash(&k), MakeMeta(Established, uint32(n)), 1000, 0, l)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(11, uint64(g)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				for range 100 {
					sharedStep(table, l, rng, testKey(still+rng.IntN(300)), 0)
				}
			}
		})
	}
	for n := range copies {
		b, err := os.ReadFile(cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprint("copy", n))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		after, o := open(t, Config{Capacity: 600, HalfOpen: 100, Path: path, BootID: "b"})
		if o.Discarded != "" || o.Recovered < still {
			t.Errorf("copy %d: %+v", n, o)
		}
		for i := range still {
			k := testKey(i)
			if e, ok := after.Lookup(&k, after.Hash(&k)); !ok || e.Meta.Backend() != uint32(i) {
				t.Errorf("copy %d: connection %d is lost", n, i)
			}
		}
		usable(t, after, o.Recovered)
		if err := after.Close(true); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
}

// A crash may leave two copies of a key of which neither was settled.
func TestRepairRemovesSecondCopies(t *testing.T) {
	table := newTable(t, 100, 100)
	l := &ledger{}
	k := testKey(1)
	h := table.Hash(&k)
	e, _ := table.Insert(&k, h, MakeMeta(Established, 1), 10, 0, l)
	for _, b := range table.buckets(h) {
		for j := range uint64(bucketSlots) {
			i := b*bucketSlots + j
			table.slots[i] = table.slots[e.Slot]
			table.setTag(i, tagOf(h)&0xff)
		}
	}
	table.used.Store(0)
	table.class[classOther].Store(0)
	if n := table.repair(); n != 1 {
		t.Errorf("%d copies are left", n)
	}
	consistent(t, table, nil)
}

// FuzzRepair lays the input over header, directory and slots of a file.
func FuzzRepair(f *testing.F) {
	dir := f.TempDir()
	cfg := Config{Capacity: 20, HalfOpen: 50, Path: filepath.Join(dir, "seed"), BootID: "b"}
	filled(f, cfg, 20)
	valid, err := os.ReadFile(cfg.Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, []byte{}, []byte{})
	f.Add([]byte(magic), []byte{1, 1, 1, 1, 1, 1, 1, 1}, []byte{0})
	f.Add([]byte("SVMFLOW2"), []byte{0, 2, 3, 255}, []byte{})
	f.Add(make([]byte, 8), []byte{9, 9}, valid[2*pageBytes:2*pageBytes+640])
	f.Add([]byte{}, valid[pageBytes:pageBytes+40], valid[2*pageBytes:2*pageBytes+640])
	f.Add(valid[:144], []byte{}, []byte{})
	n := 0
	f.Fuzz(func(t *testing.T, header, directory, slots []byte) {
		b := append([]byte(nil), valid...)
		copy(b[:144], header)
		copy(b[pageBytes:pageBytes+40], directory)
		copy(b[2*pageBytes:], slots)
		n++
		cfg := cfg
		cfg.Path = filepath.Join(dir, fmt.Sprint("f", n%4))
		if err := os.WriteFile(cfg.Path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		table, o := open(t, cfg)
		defer table.Close(true)
		if o.Discarded != "" && o.Recovered != 0 {
			t.Errorf("%+v", o)
		}
		usable(t, table, o.Recovered)
	})
}

// A full file system must be an error of New, not a SIGBUS of a worker later. The
// test runs itself again in a mount namespace with a small tmpfs.
func TestFullFileSystem(t *testing.T) {
	const variable = "SVM_FLOW_SMALL_TMPFS"
	if dir := os.Getenv(variable); dir != "" {
		if err := syscall.Mount("none", dir, "tmpfs", 0, "size=256k"); err != nil {
			t.Fatal(err)
		}
		defer syscall.Unmount(dir, 0)
		path := filepath.Join(dir, "table")
		_, _, err := New(Config{Capacity: 100_000, HalfOpen: 50, Path: path, BootID: "b"})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("want ENOSPC, got %v", err)
		}
		t.Log(err)
		table, o := open(t, Config{Capacity: 1000, HalfOpen: 50, Path: path, BootID: "b"})
		usable(t, table, o.Recovered)
		if err := table.Close(true); err != nil {
			t.Fatal(err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullFileSystem$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatalf("no namespaces: %v", err)
		}
		t.Skipf("no namespaces: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
