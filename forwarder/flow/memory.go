package flow

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
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

// header is the first page: magic (8 bytes), nonce (8), buckets (8), seed (48),
// boot ID (8 + at most 64).
type memory struct {
	raw  []byte
	file *os.File
}

// New makes a table, or takes over the one that a former process left in Path.
func New(cfg Config) (*Table, Origin, error) {
	if cfg.Capacity < 1 || cfg.Capacity > 1<<28 {
		return nil, Origin{}, fmt.Errorf("flow: capacity %d: want 1 to %d", cfg.Capacity, 1<<28)
	}
	if len(cfg.BootID) > 64 {
		return nil, Origin{}, fmt.Errorf("flow: boot ID of %d bytes: want at most 64", len(cfg.BootID))
	}
	n := uint64(cfg.Capacity)*10/7/bucketSlots + 2
	dirBytes := (n*8 + pageBytes - 1) / pageBytes * pageBytes
	size := pageBytes + dirBytes + n*bucketSlots*slotBytes
	m, err := mapMemory(cfg.Path, int(size))
	if err != nil {
		return nil, Origin{}, fmt.Errorf("flow: table of %d MiB: %w", size>>20, err)
	}
	t := &Table{n: n, cap: int64(cfg.Capacity), mem: m}
	t.bound = [numClasses]int64{classOther: t.cap}
	t.bound[classHalfOpen] = max(1, t.cap*int64(cfg.HalfOpen)/100)
	t.bound[classFragment] = max(1, t.bound[classHalfOpen]/4)
	t.dir = unsafe.Slice((*uint64)(unsafe.Pointer(&m.raw[pageBytes])), n)
	t.slots = unsafe.Slice((*slot)(unsafe.Pointer(&m.raw[pageBytes+dirBytes])), n*bucketSlots)

	var o Origin
	if o.Discarded = m.foreign(n, cfg.BootID); o.Discarded == "" {
		m.readSeed(&t.seed)
		o.Recovered = t.repair()
	} else {
		if o.Discarded == "new" {
			o.Discarded = ""
		} else {
			clear(m.raw[:pageBytes+dirBytes]) // a slot without a tag may hold anything
		}
		m.format(n, cfg.BootID)
		m.readSeed(&t.seed)
	}
	o.Nonce = binary.LittleEndian.Uint64(m.raw[8:])
	return t, o, nil
}

// mapMemory maps size bytes: of the file when there is a path, else anonymous.
func mapMemory(path string, size int) (*memory, error) {
	const prot = syscall.PROT_READ | syscall.PROT_WRITE
	if path == "" {
		raw, err := syscall.Mmap(-1, 0, size, prot, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return nil, err
		}
		_ = syscall.Madvise(raw, syscall.MADV_HUGEPAGE) // fewer TLB misses; fine without
		return &memory{raw: raw}, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	raw, err := mapFile(f, size)
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "map", Path: path, Err: err}
	}
	return &memory{raw: raw, file: f}, nil
}

func mapFile(f *os.File, size int) ([]byte, error) {
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
	if st.Size() != int64(size) {
		if err := f.Truncate(0); err != nil {
			return nil, err
		}
	}
	// All blocks now: a full file system must be an error here, not a SIGBUS later.
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(size)); err != nil {
		return nil, err
	}
	return syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
}

// foreign says why the memory can't be taken over: "new" when it is blank.
func (m *memory) foreign(n uint64, boot string) string {
	h := m.raw[:pageBytes]
	switch {
	case binary.LittleEndian.Uint64(h) == 0:
		return "new"
	case string(h[:8]) != magic:
		return "not a connection table of this version"
	case binary.LittleEndian.Uint64(h[16:]) != n:
		return "of another size"
	case boot == "" || string(h[80:80+len(boot)]) != boot:
		return "the machine was started anew since"
	}
	return ""
}

func (m *memory) format(n uint64, boot string) {
	h := m.raw[:pageBytes]
	_, _ = rand.Read(h[8:16]) // never fails
	binary.LittleEndian.PutUint64(h[16:], n)
	_, _ = rand.Read(h[24:72])
	copy(h[80:], boot)
	copy(h, magic)
}

func (m *memory) readSeed(s *frame.Seed) {
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(m.raw[24+8*i:])
	}
}

// repair makes a table that a killed process left consistent: slots that were
// being written or removed are freed, entries that don't stand where their key
// belongs too, and everything is counted afresh.
func (t *Table) repair() (entries int) {
	for b := range t.dir {
		for j := range uint64(bucketSlots) {
			tag := t.dir[b] >> (j * 8) & 0xff
			if tag == 0 {
				continue
			}
			i := uint64(b)*bucketSlots + j
			s := &t.slots[i]
			meta := Meta(s[wordMeta])
			k := s.key()
			h := t.Hash(&k)
			sound := tag != reserved && meta.State() != Free && meta.State() < NumStates &&
				tag == tagOf(h)&0xff && (uint64(b) == t.bucket1(h) || uint64(b) == t.bucket2(h))
			if !sound {
				s[wordMeta] = uint64(meta.next())
				t.setTag(i, 0)
				continue
			}
			t.used.Add(1)
			t.class[classOf[meta.State()]].Add(1)
			entries++
		}
	}
	return entries
}

// Reset empties the table. Nobody else may use it meanwhile.
func (t *Table) Reset() {
	clear(t.dir)
	t.used.Store(0)
	for i := range t.class {
		t.class[i].Store(0)
	}
}

// Close gives the memory back. A table in a file stays there for the next process
// unless discard is set. Nobody may use the table after.
func (t *Table) Close(discard bool) error {
	t.dir, t.slots = nil, nil
	err := syscall.Munmap(t.mem.raw)
	if f := t.mem.file; f != nil {
		if discard {
			err = errors.Join(err, os.Remove(f.Name()))
		}
		err = errors.Join(err, f.Close())
	}
	return err
}
