package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat12"
	"github.com/diskfs/go-diskfs/filesystem/fat16"
)

// Size of an image, in bytes.
type Size int64

const (
	Floppy Size = 1474560  // 1.44 MB, FAT12
	USB    Size = 32 << 20 // FAT16, written over the start of a stick
)

// Image makes a FAT image of m, byte for byte the same each time. It refuses a bundle
// that its own station's key doesn't prove.
func Image(size Size, m Medium) ([]byte, error) {
	if size != Floppy && size != USB {
		return nil, fmt.Errorf("an image of %d bytes: want %d (floppy) or %d (USB)", size, Floppy, USB)
	}
	b, err := openOwn(m)
	if err != nil {
		return nil, err
	}
	files, err := b.files(m)
	if err != nil {
		return nil, err
	}
	if err := checkRoom(size, files); err != nil {
		return nil, err
	}
	disk := &memDisk{b: make([]byte, size)}
	if err := fill(disk, size, files); err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	if err := normalise(disk, b.Time, m); err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	back, err := readMedium("the new image", disk, int64(size))
	if err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	if !bytes.Equal(back.Bundle, m.Bundle) || !bytes.Equal(back.Signature, m.Signature) || !bytes.Equal(back.Secrets, m.Secrets) {
		return nil, fmt.Errorf("making an image: it doesn't read back as it was written")
	}
	return disk.b, nil
}

// openOwn opens a medium's bundle by the key that is in it: enough to write it.
func openOwn(m Medium) (*Bundle, error) {
	if len(m.Bundle) > MaxBundle {
		return nil, refuse(TooLarge, nameBundle, "", "%d bytes, at most %d are read", len(m.Bundle), MaxBundle)
	}
	var claim Bundle
	if err := decode(nameBundle, m.Bundle, &claim); err != nil {
		return nil, err
	}
	if len(m.Secrets) > maxSecrets {
		return nil, refuse(TooLarge, nameSecrets, "", "%d bytes, at most %d are read", len(m.Secrets), maxSecrets)
	}
	return Open(m.Bundle, m.Signature, claim.Roster.StationKey)
}

type imageFile struct {
	name string
	data []byte
}

// checkRoom refuses before it is written what doesn't fit: go-diskfs would go on past
// the end of the disk.
func checkRoom(size Size, files []imageFile) error {
	cluster, clusters := int64(512), int64(2847-1) // go-diskfs keeps cluster 2 to itself
	if size == USB {
		cluster, clusters = 1024, 32622-1
	}
	need := int64(0)
	for _, f := range files {
		need += (int64(len(f.data)) + cluster - 1) / cluster
	}
	if need <= clusters {
		return nil
	}
	remedy := "write a USB image: --usb"
	if size == USB {
		remedy = "deliver it on line: svm-ems push"
	}
	return refuse(MediumTooSmall, fmt.Sprintf("a medium of %d bytes", size), remedy, "its files need %d bytes, %d are free",
		need*cluster, clusters*cluster)
}

func fill(disk *memDisk, size Size, files []imageFile) error {
	var v filesystem.FileSystem
	var err error
	if size == Floppy {
		v, err = fat12.Create(disk, int64(size), 0, 512, Label, true)
	} else {
		v, err = fat16.Create(disk, int64(size), 0, 512, Label, true)
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		w, err := v.OpenFile("/"+f.name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// normalise mends what go-diskfs 1.9.4 leaves in a finished image: entries carry the
// time of the clock (its SOURCE_DATE_EPOCH is the whole process's), the serial number
// is zero, and cluster 2 is taken by no file, which fsck.fat complains of.
func normalise(disk *memDisk, at time.Time, m Medium) error {
	v, err := openVolume(disk, int64(len(disk.b)))
	if err != nil {
		return err
	}
	for fat := range int64(v.fats) {
		entry := disk.b[v.fatStart+fat*v.fatSize:]
		if v.bits == 12 {
			entry[3], entry[4] = 0, entry[4]&0xf0
		} else {
			entry[4], entry[5] = 0, 0
		}
	}
	// The serial number tells one medium from another; it follows from what is on it.
	sum := sha256.Sum256(bytes.Join([][]byte{m.Bundle, m.Signature, m.Secrets}, nil))
	copy(disk.b[v.serialAt:], sum[:4])

	date, clock := dosTime(at)
	root := disk.b[v.rootStart : v.rootStart+v.rootSize]
	for ; root[0] != 0; root = root[32:] {
		if root[11]&0x3f == attrLong {
			continue
		}
		le := binary.LittleEndian
		root[13] = 0 // hundredths of a second
		le.PutUint16(root[14:], clock)
		le.PutUint16(root[16:], date)
		le.PutUint16(root[18:], date)
		le.PutUint16(root[22:], clock)
		le.PutUint16(root[24:], date)
	}
	return nil
}

// dosTime is t, in UTC, as FAT keeps it: from 1980 to 2107, in steps of two seconds.
func dosTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	} else if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return date, clock
}
