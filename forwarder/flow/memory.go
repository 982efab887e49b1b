package flow

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/bits"
	"os"
	"syscall"
	"unsafe"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// Config says how large a table is and where it lives.
type Config struct {
	// Capacity is the largest number of entries, 64 bytes each, of which three
	// tenths more are set aside as room to hash into.
	Capacity int
	// HalfOpen is the percentage of Capacity that unconfirmed entries may fill;
	// fragments may fill a quarter of that besides.
	HalfOpen int
	// Path is a file on a memory file system (/run) that holds the table, so that
	// it outlives a crash of the process. Empty: memory of the process only.
	Path string
	// BootID names this run of the machine; a file of another run is discarded.
	BootID string
}

// Origin says where a table's contents came from.
type Origin struct {
	Recovered int    // entries that a former process left
	Nonce     uint64 // changes whenever a table starts empty
	Discarded string // why the contents of an existing file were not used, if so
}

// ErrInUse is returned when another process holds the table's file.
var ErrInUse = errors.New("another process uses it")

const (
	pageBytes = 4096
	magic     = "SVMFLOW1"
)

// memory is what a table stands in. Its first page is the header: magic (8 bytes),
// nonce (8), buckets (8), seed (48), checksum of the three (8), boot ID (64, filled up
// with zeros). With a seed that was not drawn at random keys could share few buckets.
type memory struct {
	raw  []byte
	all  []byte // what was mapped; raw is part of it
	file *os.File
	old  string // why nothing of what the file held before is there, if anything was
}

// New makes a table, or takes over the one that a former process left in Path.
func New(cfg Config) (*Table, Origin, error) {
	if cfg.Capacity < 1 || cfg.Capacity > 1<<28 {
		return nil, Origin{}, fmt.Errorf("flow: capacity %d: want 1 to %d", cfg.Capacity, 1<<28)
	}
	if len(cfg.BootID) > 64 {
		return nil, Origin{}, fmt.Errorf("flow: boot ID of %d bytes: want at most 64", len(cfg.BootID))
	}
	n := (uint64(cfg.Capacity)*10/7/bucketSlots + 16) &^ 7 // whole lines of the directory
	dirBytes := (n*8 + pageBytes - 1) / pageBytes * pageBytes
	size := pageBytes + dirBytes + n*bucketSlots*slotBytes
	m, err := mapMemory(cfg.Path, int(size))
	if err != nil {
		return nil, Origin{}, fmt.Errorf("flow: table of %d MiB: %w", size>>20, err)
	}
	t := &Table{n: n, cap: int64(cfg.Capacity), mem: m}
	t.bound = [numClasses]int64{classOther: 1 << 62} // Capacity alone bounds these
	t.bound[classHalfOpen] = max(1, t.cap*int64(cfg.HalfOpen)/100)
	t.bound[classFragment] = max(1, t.bound[classHalfOpen]/4)
	t.dir = unsafe.Slice((*uint64)(unsafe.Pointer(&m.raw[pageBytes])), n)
	t.slots = unsafe.Slice((*slot)(unsafe.Pointer(&m.raw[pageBytes+dirBytes])), n*bucketSlots)

	var o Origin
	foreign := m.foreign(n, cfg.BootID)
	if foreign == "" {
		m.readSeed(&t.seed)
		o.Recovered = t.repair()
	} else {
		if foreign != blank {
			o.Discarded = foreign
		}
		clear(m.raw[:pageBytes+dirBytes])
		if foreign != blank && m.old == "" { // the file was not emptied: nothing may live in it
			for i := range t.slots {
				t.slots[i][wordMeta] = 0
			}
		}
		m.format(n, cfg.BootID)
		m.readSeed(&t.seed)
	}
	o.Nonce = binary.LittleEndian.Uint64(m.raw[8:])
	return t, o, nil
}

// mapMemory maps size bytes: of the file when there is a path, else anonymous.
func mapMemory(path string, size int) (*memory, error) {
	if path == "" {
		const huge = 2 << 20
		all, err := syscall.Mmap(-1, 0, size+huge, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return nil, err
		}
		// Huge pages from the start on, where the directory is: fewer TLB misses. The
		// rest of what was mapped is never touched and costs nothing. Fine without.
		start := -int(uintptr(unsafe.Pointer(unsafe.SliceData(all)))) & (huge - 1)
		if size >= huge {
			_ = syscall.Madvise(all, syscall.MADV_HUGEPAGE)
		}
		return &memory{raw: all[start : start+size], all: all}, nil
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		m, err := mapFile(f, size)
		if err == nil && !standsAt(f, path) {
			// Its last owner removed it between our open and our lock.
			err = errors.Join(syscall.Munmap(m.all), f.Close())
			if err == nil {
				continue
			}
		}
		if err != nil {
			f.Close()
			return nil, &fs.PathError{Op: "map", Path: path, Err: err}
		}
		return m, nil
	}
}

// standsAt tells whether f is the file that path leads to.
func standsAt(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func mapFile(f *os.File, size int) (*memory, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	m := &memory{file: f}
	if st.Size() != int64(size) {
		if st.Size() != 0 {
			m.old = otherTable(f)
		}
		if err := f.Truncate(0); err != nil {
			return nil, err
		}
	}
	// All blocks now: a full file system must be an error here, not a SIGBUS later.
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(size)); err != nil {
		return nil, err
	}
	m.raw, err = syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	m.all = m.raw
	return m, err
}

const (
	blank       = "blank"
	notATable   = "not a connection table of this version"
	anotherSize = "of another size"
)

// otherTable says what a file of the wrong length is.
func otherTable(f *os.File) string {
	var b [len(magic)]byte
	if _, err := f.ReadAt(b[:], 0); err == nil && string(b[:]) == magic {
		return anotherSize
	}
	return notATable
}

// foreign says why the memory can't be taken over; blank when nothing was there.
func (m *memory) foreign(n uint64, boot string) string {
	h := m.raw[:pageBytes]
	var id [64]byte
	copy(id[:], boot)
	switch {
	case m.old != "":
		return m.old
	case allZero(h):
		return blank
	case string(h[:8]) != magic:
		return notATable
	case binary.LittleEndian.Uint64(h[16:]) != n:
		return anotherSize
	case boot == "" || !bytes.Equal(h[80:144], id[:]):
		return "the machine was started anew since"
	case binary.LittleEndian.Uint64(h[72:]) != headerSum(h):
		return "its header is damaged"
	}
	return ""
}

// headerSum is the checksum of a header's nonce, buckets and seed.
func headerSum(h []byte) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write(h[8:72]) // never fails
	return sum.Sum64()
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

func (m *memory) format(n uint64, boot string) {
	h := m.raw[:pageBytes]
	_, _ = rand.Read(h[8:16]) // never fails
	binary.LittleEndian.PutUint64(h[16:], n)
	_, _ = rand.Read(h[24:72])
	binary.LittleEndian.PutUint64(h[72:], headerSum(h))
	copy(h[80:], boot)
	copy(h, magic)
}

func (m *memory) readSeed(s *frame.Seed) {
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(m.raw[24+8*i:])
	}
}

// Reset empties the table. Nobody else may use it meanwhile.
func (t *Table) Reset() {
	for b := range t.dir {
		// A slot is looked at by guess, too, without its tag.
		for m := freeBytes(t.dir[b]) ^ ones<<7; m != 0; m &= m - 1 {
			s := &t.slots[b*bucketSlots+bits.TrailingZeros64(m)/8]
			s[wordMeta] = uint64(Meta(s[wordMeta]).next())
		}
		t.dir[b] = 0
	}
	t.used.Store(0)
	for i := range t.class {
		t.class[i].Store(0)
	}
}

// Close gives the memory back. A table in a file stays there for the next process
// unless discard is set. Nobody may use the table after.
func (t *Table) Close(discard bool) error {
	t.dir, t.slots = nil, nil
	err := syscall.Munmap(t.mem.all)
	if f := t.mem.file; f != nil {
		if discard {
			err = errors.Join(err, os.Remove(f.Name()))
		}
		err = errors.Join(err, f.Close())
	}
	return err
}
