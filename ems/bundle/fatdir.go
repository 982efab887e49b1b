package bundle

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// maxRoot bounds FAT32's root directory, which is a chain of clusters.
const maxRoot = 64 << 10 // bytes

// Attributes of a directory entry.
const (
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrLong      = 0x0f // a piece of a long name
)

// dirEntry is a file, folder or label of the root directory. Names are never used as
// paths; they are only compared with ours.
type dirEntry struct {
	name  string // the long one, or the short one; only ASCII is of interest
	short string // as in the entry: 11 bytes
	attr  byte
	first uint32
	size  uint32
}

func (e *dirEntry) isFile() bool { return e.attr&(attrVolume|attrDirectory) == 0 }

// root lists the root directory.
func (v *volume) root() ([]dirEntry, error) {
	if v.bits != 32 {
		b := make([]byte, v.rootSize)
		if err := v.readAt(b, v.rootStart); err != nil {
			return nil, err
		}
		return parseDir(b, false), nil
	}
	var b []byte
	err := v.each(func(fat int) (err error) {
		b, err = v.chain(fat, v.rootCluster, maxRoot, true)
		return err
	})
	return parseDir(b, true), err
}

// parseDir reads directory entries up to the end mark. Deleted ones are left out, and
// long names that don't fit their entry are ignored.
func parseDir(b []byte, wide bool) []dirEntry {
	var out []dirEntry
	var long longName
	for ; len(b) >= 32 && b[0] != 0; b = b[32:] {
		d := b[:32]
		switch {
		case d[0] == 0xe5:
			long = longName{}
			continue
		case d[11]&0x3f == attrLong:
			long.add(d)
			continue
		}
		e := dirEntry{
			short: string(d[:11]), attr: d[11],
			first: uint32(binary.LittleEndian.Uint16(d[26:])),
			size:  binary.LittleEndian.Uint32(d[28:]),
		}
		if wide {
			e.first |= uint32(binary.LittleEndian.Uint16(d[20:])) << 16
		}
		if e.name = long.text(d[:11]); e.name == "" {
			e.name = shortName(e.short)
		}
		long = longName{}
		out = append(out, e)
	}
	return out
}

func shortName(s string) string {
	name, ext := strings.TrimRight(s[:8], " "), strings.TrimRight(s[8:], " ")
	if ext != "" {
		name += "." + ext
	}
	return name
}

// longName gathers the pieces of a long name, which come last one first before the
// entry that they belong to. The zero value holds none.
type longName struct {
	units []uint16 // what is known, to the end of the name
	want  byte     // number of the piece that must come next; 0: the name is whole
	sum   byte
}

func (l *longName) add(d []byte) {
	n := d[0] & 0x1f
	if d[0]&0x40 != 0 {
		*l = longName{want: n, sum: d[13]}
	}
	if n == 0 || n > 20 || n != l.want || d[13] != l.sum {
		*l = longName{}
		return
	}
	piece := make([]uint16, 0, 13+len(l.units))
	for _, at := range [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		u := binary.LittleEndian.Uint16(d[at:])
		if u == 0 || u == 0xffff {
			break
		}
		piece = append(piece, u)
	}
	l.units, l.want = append(piece, l.units...), n-1
}

// text is the name if it is whole and belongs to the entry of the short name.
func (l *longName) text(short []byte) string {
	if l.want != 0 || len(l.units) == 0 || l.sum != shortSum(short) {
		return ""
	}
	return string(utf16.Decode(l.units))
}

// shortSum ties a long name's pieces to their entry.
func shortSum(short []byte) (sum byte) {
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// label is the volume's label: of the root directory, or else of the boot sector.
func (v *volume) label(root []dirEntry) string {
	for i := range root {
		if root[i].attr&(attrVolume|attrDirectory) == attrVolume {
			return strings.TrimRight(root[i].short, " ")
		}
	}
	return strings.TrimRight(v.bootLabel, " ")
}

// sameName compares a name of a medium with one of ours: ASCII, either case.
func sameName(theirs, ours string) bool {
	for i := range len(theirs) {
		if theirs[i] >= 0x80 { // or Unicode's folding would let the Kelvin sign be a K
			return false
		}
	}
	return strings.EqualFold(theirs, ours)
}
