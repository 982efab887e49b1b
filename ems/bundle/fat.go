package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The reader of media is our own and not the library's that writes them: a medium is
// made by anybody, and go-diskfs 1.9.4 follows a FAT chain that runs in a circle for
// ever, keeping every step in memory; that happens between two reads, where no budget
// can stop it.

// maxRead bounds all that is read of one medium, in bytes.
const maxRead = 64 << 20

// volume reads the root directory of a FAT12, FAT16 or FAT32 volume (Microsoft's FAT
// specification 1.03; names as there). It trusts nothing that it reads.
type volume struct {
	r      io.ReaderAt
	budget int64 // bytes that may still be read

	bits                  int   // 12, 16 or 32 per FAT entry
	sector, cluster       int64 // bytes
	fatStart, fatSize     int64 // bytes; the copies follow each other
	fats                  int
	rootStart, rootSize   int64  // bytes; FAT12 and FAT16
	rootCluster, clusters uint32 // FAT32's root; clusters are numbered 2 to clusters+1
	dataStart             int64
	bootLabel             string
	serialAt              int64 // of the volume's serial number
}

var (
	errNotFAT = errors.New("there is no FAT file system on it")
	errChain  = errors.New("the chain of a file's clusters is broken")
	errBudget = errors.New("reading it takes too long")
)

// openVolume reads the boot sector of a volume that fills the size bytes of r.
func openVolume(r io.ReaderAt, size int64) (*volume, error) {
	v := &volume{r: r, budget: maxRead}
	var b [512]byte
	if size < int64(len(b)) {
		return nil, errNotFAT
	}
	if err := v.readAt(b[:], 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if le.Uint16(b[510:]) != 0xaa55 {
		return nil, errNotFAT
	}
	v.sector = int64(le.Uint16(b[11:]))
	perCluster := int64(b[13])
	reserved := int64(le.Uint16(b[14:]))
	v.fats = int(b[16])
	rootEntries := int64(le.Uint16(b[17:]))
	total := int64(le.Uint16(b[19:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	perFAT := int64(le.Uint16(b[22:]))
	wide := perFAT == 0
	if wide {
		perFAT = int64(le.Uint32(b[36:]))
	}
	switch {
	case v.sector != 512 && v.sector != 1024 && v.sector != 2048 && v.sector != 4096,
		perCluster == 0 || perCluster&(perCluster-1) != 0,
		reserved == 0, v.fats != 1 && v.fats != 2, perFAT == 0,
		wide != (rootEntries == 0), total == 0:
		return nil, errNotFAT
	case total*v.sector > size:
		return nil, fmt.Errorf("the file system has %d bytes, only %d are there: it is cut off", total*v.sector, size)
	}
	v.cluster = perCluster * v.sector
	v.fatStart, v.fatSize = reserved*v.sector, perFAT*v.sector
	v.rootStart = v.fatStart + int64(v.fats)*v.fatSize
	v.rootSize = rootEntries * 32
	v.dataStart = v.rootStart + (v.rootSize+v.sector-1)/v.sector*v.sector
	clusters := (total*v.sector - v.dataStart) / v.cluster
	if clusters < 1 || clusters > 0x0ffffff4 {
		return nil, errNotFAT
	}
	v.clusters = uint32(clusters)
	label := 43
	switch {
	case wide:
		v.bits, label, v.rootCluster = 32, 71, le.Uint32(b[44:])
	case clusters < 4085:
		v.bits = 12
	case clusters < 65525:
		v.bits = 16
	default:
		return nil, errNotFAT
	}
	if (clusters+2)*int64(v.bits) > v.fatSize*8 {
		return nil, errNotFAT
	}
	v.bootLabel, v.serialAt = string(b[label:label+11]), int64(label)-4
	return v, nil
}

// readAt fills p, within the budget.
func (v *volume) readAt(p []byte, off int64) error {
	v.budget -= int64(len(p))
	if v.budget < 0 {
		return errBudget
	}
	n, err := v.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading at byte %d: %w", off, err)
}

// next is what the FAT's copy says of cluster c: the following cluster, or last.
func (v *volume) next(fat int, c uint32) (next uint32, last bool, err error) {
	base := v.fatStart + int64(fat)*v.fatSize
	var b [4]byte
	switch v.bits {
	case 12:
		if err := v.readAt(b[:2], base+int64(c)+int64(c/2)); err != nil {
			return 0, false, err
		}
		next = uint32(binary.LittleEndian.Uint16(b[:])) >> (4 * (c & 1)) & 0xfff
		last = next >= 0xff8
	case 16:
		if err := v.readAt(b[:2], base+2*int64(c)); err != nil {
			return 0, false, err
		}
		next = uint32(binary.LittleEndian.Uint16(b[:]))
		last = next >= 0xfff8
	default:
		if err := v.readAt(b[:], base+4*int64(c)); err != nil {
			return 0, false, err
		}
		next = binary.LittleEndian.Uint32(b[:]) & 0x0fffffff
		last = next >= 0x0ffffff8
	}
	return next, last, nil
}

// chain reads the clusters from first on, at most limit bytes of them, by one copy of
// the FAT. A chain that is longer is an error unless cut is set.
func (v *volume) chain(fat int, first uint32, limit int64, cut bool) ([]byte, error) {
	var out []byte
	for c, last := first, false; !last; {
		if c < 2 || c > v.clusters+1 {
			return nil, errChain
		}
		if int64(len(out)) >= limit {
			if cut {
				return out, nil
			}
			return nil, errChain
		}
		n := len(out)
		out = append(out, make([]byte, v.cluster)...)
		if err := v.readAt(out[n:], v.dataStart+int64(c-2)*v.cluster); err != nil {
			return nil, err
		}
		var err error
		if c, last, err = v.next(fat, c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// each gives f the copies of the FAT in turn until one will do: floppies age.
func (v *volume) each(f func(fat int) error) error {
	err := f(0)
	if err != nil && v.fats == 2 && f(1) == nil {
		return nil
	}
	return err
}

// read reads a file whole.
func (v *volume) read(e *dirEntry) ([]byte, error) {
	if e.size == 0 {
		return nil, nil
	}
	size := int64(e.size)
	var out []byte
	err := v.each(func(fat int) error {
		b, err := v.chain(fat, e.first, size, false)
		if err == nil && int64(len(b)) < size {
			err = errChain
		}
		if err == nil {
			out = b[:size]
		}
		return err
	})
	return out, err
}
