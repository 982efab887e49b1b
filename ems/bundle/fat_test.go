package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// mkfs makes a volume by dosfstools and fills it by mtools: what other people's
// programs write must be read, too.
func mkfs(t *testing.T, size int64, args []string, files map[string][]byte) string {
	t.Helper()
	tool(t, "mkfs.fat")
	tool(t, "mcopy")
	dir := t.TempDir()
	img := filepath.Join(dir, "medium.img")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, size); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.fat", append(args, "-n", Label, img)...)
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "mcopy", "-i", img, path, "::/"+name)
	}
	return img
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK=1")
	if cmd.Err != nil {
		cmd.Path, cmd.Err = filepath.Join("/usr/sbin", name), nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestReadsOthersVolumes(t *testing.T) {
	for name, c := range map[string]struct {
		size int64
		args []string
		bits int
	}{
		"FAT12 floppy":       {1474560, nil, 12},
		"FAT12 720 kB":       {737280, nil, 12},
		"FAT16":              {32 << 20, []string{"-F", "16"}, 16},
		"FAT32":              {64 << 20, []string{"-F", "32", "-s", "1"}, 32},
		"FAT32 by 4 kB":      {300 << 20, []string{"-F", "32", "-s", "8"}, 32},
		"one copy of FAT":    {32 << 20, []string{"-F", "16", "-f", "1"}, 16},
		"sectors of 4 kB":    {64 << 20, []string{"-F", "16", "-S", "4096"}, 16},
		"many root clusters": {64 << 20, []string{"-F", "32", "-s", "1"}, 32},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{
				nameBundle:    bytes.Repeat([]byte("bundle\n"), 9999),
				nameSignature: []byte("signature\n"),
				nameSecrets:   bytes.Repeat([]byte("s"), 4096),
			}
			if name == "many root clusters" {
				for i := range 40 {
					files[fmt.Sprintf("a rather long name of a holiday picture %02d.jpeg", i)] = []byte("x")
				}
			}
			img := mkfs(t, c.size, c.args, files)
			m, err := ReadImage(img)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Bundle, files[nameBundle]) || !bytes.Equal(m.Signature, files[nameSignature]) || !bytes.Equal(m.Secrets, files[nameSecrets]) {
				t.Error("other files than were written")
			}
			if labelOf(img) != Label {
				t.Errorf("label %q", labelOf(img))
			}
			f, size, err := openMedium(img)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if v, err := openVolume(f, size); err != nil || v.bits != c.bits {
				t.Errorf("%+v, %v; want FAT%d", v, err, c.bits)
			}
		})
	}
}

// rawFile is one file of a volume made by hand.
type rawFile struct {
	short string // 11 bytes
	attr  byte
	first uint16
	size  uint32
}

// rawVolume is a floppy with these directory entries and FAT12 entries, whatever
// nonsense they say; its clusters are numbered in their contents.
func rawVolume(files []rawFile, fat map[int]uint16) []byte {
	b := make([]byte, Floppy)
	le := binary.LittleEndian
	le.PutUint16(b[11:], 512)
	b[13] = 1                  // sectors per cluster
	le.PutUint16(b[14:], 1)    // reserved
	b[16] = 2                  // FATs
	le.PutUint16(b[17:], 224)  // root entries
	le.PutUint16(b[19:], 2880) // sectors
	le.PutUint16(b[22:], 9)    // per FAT
	le.PutUint16(b[510:], 0xaa55)
	for _, base := range []int{512, 512 * 10} {
		for c, next := range fat {
			at := base + c*3/2
			word := le.Uint16(b[at:])
			if c%2 == 0 {
				word = word&0xf000 | next
			} else {
				word = word&0x000f | next<<4
			}
			le.PutUint16(b[at:], word)
		}
	}
	for i, f := range files {
		d := b[512*19+32*i:]
		copy(d, f.short)
		d[11] = f.attr
		le.PutUint16(d[26:], f.first)
		le.PutUint32(d[28:], f.size)
	}
	for c := 2; c < 2849; c++ {
		b[512*(33+c-2)] = byte(c)
	}
	return b
}

// The names as a system without long names writes them don't matter here: the reader
// is asked for what it finds.
func TestHostileVolumes(t *testing.T) {
	chain := func(links ...uint16) map[int]uint16 {
		fat := map[int]uint16{}
		for i := 0; i+1 < len(links); i++ {
			fat[int(links[i])] = links[i+1]
		}
		return fat
	}
	const end = 0xfff
	for name, c := range map[string]struct {
		first uint16
		size  uint32
		fat   map[int]uint16
		want  error
	}{
		"whole":                  {2, 1000, chain(2, 5, end), nil},
		"exactly two clusters":   {2, 1024, chain(2, 5, end), nil},
		"circle of one":          {2, 5000, chain(2, 2), errChain},
		"circle of three":        {2, 99999, chain(2, 3, 4, 2), errChain},
		"circle past the budget": {2, 0xffffffff, chain(2, 3, 4, 2), errBudget},
		"too short":              {2, 5000, chain(2, 5, end), errChain},
		"too long":               {2, 500, chain(2, 5, end), errChain},
		"starts at 0":            {0, 500, nil, errChain},
		"starts at 1":            {1, 500, nil, errChain},
		"starts past the end":    {2849, 500, nil, errChain},
		"starts far past it":     {0xffff, 500, nil, errChain},
		"free cluster":           {2, 1000, chain(2, 5, 0), errChain},
		"bad cluster":            {2, 1500, chain(2, 5, 0xff7), errChain},
		"runs past the end":      {2, 1500, chain(2, 2849), errChain},
	} {
		t.Run(name, func(t *testing.T) {
			img := rawVolume([]rawFile{{"SVM     JSN", 0x20, c.first, c.size}}, c.fat)
			v, err := openVolume(bytes.NewReader(img), int64(len(img)))
			if err != nil {
				t.Fatal(err)
			}
			root, err := v.root()
			if err != nil || len(root) != 1 || root[0].name != "SVM.JSN" {
				t.Fatalf("%+v, %v", root, err)
			}
			b, err := v.read(&root[0])
			if !errors.Is(err, c.want) || err == nil && (len(b) != int(c.size) || b[0] != 2 || b[512] != 5) {
				t.Errorf("%d bytes, %v; want %v", len(b), err, c.want)
			}
		})
	}
}

// The first copy of the FAT is broken: the second one serves.
func TestSecondFAT(t *testing.T) {
	img := rawVolume([]rawFile{{"SVM     JSN", 0x20, 2, 1000}}, map[int]uint16{2: 5, 5: 0xfff})
	clear(img[512 : 512+4608])
	v, err := openVolume(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	root, err := v.root()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := v.read(&root[0]); err != nil || b[512] != 5 {
		t.Error(err)
	}
}

// An endless root directory, as only FAT32 can have, is read up to its limit.
func TestCircularRoot(t *testing.T) {
	img := mkfs(t, 64<<20, []string{"-F", "32", "-s", "1"}, nil)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	v, err := openVolume(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for fat := range int64(2) { // the root's only cluster follows itself
		binary.LittleEndian.PutUint32(b[v.fatStart+fat*v.fatSize+4*int64(v.rootCluster):], v.rootCluster)
	}
	at := v.dataStart + int64(v.rootCluster-2)*v.cluster
	for i := range v.cluster / 32 {
		copy(b[at+32*i:], "SVM     JSN\x20")
	}
	root, err := v.root()
	if err != nil || len(root) != maxRoot/32 {
		t.Errorf("%d entries, %v; want %d", len(root), err, maxRoot/32)
	}
}

func TestLongNames(t *testing.T) {
	piece := func(n byte, last bool, sum byte, text string) []byte {
		d := make([]byte, 32)
		d[0], d[11], d[13] = n, attrLong, sum
		if last {
			d[0] |= 0x40
		}
		units := append([]rune(text), 0)
		for i, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			u := rune(0xffff)
			if i < len(units) {
				u = units[i]
			}
			binary.LittleEndian.PutUint16(d[at:], uint16(u))
		}
		return d
	}
	short := []byte("SVMJSON MIN")
	entry := append(append([]byte{}, short...), make([]byte, 21)...)
	sum := shortSum(short)
	for name, c := range map[string]struct {
		pieces [][]byte
		want   string
	}{
		"none":         {nil, "SVMJSON.MIN"},
		"whole":        {[][]byte{piece(2, true, sum, "sig"), piece(1, false, sum, "svm.json.mini")}, "svm.json.minisig"},
		"first lost":   {[][]byte{piece(2, true, sum, "sig")}, "SVMJSON.MIN"},
		"last lost":    {[][]byte{piece(1, false, sum, "svm.json.mini")}, "SVMJSON.MIN"},
		"wrong order":  {[][]byte{piece(1, false, sum, "svm.json.mini"), piece(2, true, sum, "sig")}, "SVMJSON.MIN"},
		"of another":   {[][]byte{piece(1, true, sum+1, "svm.json")}, "SVMJSON.MIN"},
		"sums differ":  {[][]byte{piece(2, true, sum+1, "sig"), piece(1, false, sum, "svm.json.mini")}, "SVMJSON.MIN"},
		"piece 0":      {[][]byte{piece(0, true, sum, "svm.json")}, "SVMJSON.MIN"},
		"piece 31":     {[][]byte{piece(31, true, sum, "svm.json")}, "SVMJSON.MIN"},
		"not ASCII":    {[][]byte{piece(1, true, sum, "svm.\u212ason")}, "svm.\u212ason"},
		"a path":       {[][]byte{piece(1, true, sum, "../../etc")}, "../../etc"},
		"twice a name": {[][]byte{piece(1, true, sum, "other"), piece(1, true, sum, "svm.json")}, "svm.json"},
	} {
		got := parseDir(append(bytes.Join(c.pieces, nil), entry...), false)
		if len(got) != 1 || got[0].name != c.want {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
	if sameName("\u212aey", "key") || !sameName("SVM.JSON", nameBundle) || sameName("SVM.JSO", nameBundle) {
		t.Error("sameName")
	}
}

// FuzzReadMedium patches a small volume in three places, or reads what it is given as
// a volume of its own.
func FuzzReadMedium(f *testing.F) {
	small := rawVolume([]rawFile{
		{"SVM-CONFIG ", 0x08, 0, 0}, {"SVM     JSN", 0x20, 2, 1000}, {"SECRETS AGE", 0x20, 4, 600},
	}, map[int]uint16{2: 3, 3: 0xfff, 4: 5, 5: 0xfff})[:512*50]
	small[19], small[20] = 50, 0 // sectors
	f.Add([]byte{2}, uint16(13), []byte{0xff}, uint16(17), []byte("SVM~1"), uint16(512*19+64))
	f.Add(small[:512], uint16(0), []byte{1, 1, 1}, uint16(512), []byte{0xff, 0xff, 0xff, 0xff}, uint16(512*19+60))
	f.Fuzz(func(t *testing.T, a []byte, atA uint16, b []byte, atB uint16, c []byte, atC uint16) {
		img := bytes.Clone(small)
		for _, p := range []struct {
			b  []byte
			at uint16
		}{{a, atA}, {b, atB}, {c, atC}} {
			copy(img[int(p.at)%len(img):], p.b)
		}
		for _, img := range [][]byte{img, a} {
			m, err := readMedium("fuzz", bytes.NewReader(img), int64(len(img)))
			var typed *Error
			if err != nil && !errors.As(err, &typed) {
				t.Fatalf("an error without reason: %v", err)
			}
			if err == nil && (len(m.Bundle) == 0 || len(m.Signature) == 0) {
				t.Fatal("half a medium")
			}
		}
	})
}
