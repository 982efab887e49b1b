package bundle

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/render"
)

// firstBoot is what a director does with a medium, up to where it would begin to
// change anything.
func firstBoot(path, pin, node, clusterName string, confirmed uint64, phrase string) error {
	m, err := ReadImage(path)
	if err != nil {
		return err
	}
	b, err := Open(m.Bundle, m.Signature, pin)
	if err != nil {
		return err
	}
	if err := b.Accept(node, clusterName, confirmed); err != nil {
		return err
	}
	secrets, err := UnsealAll(m.Secrets, phrase)
	if err != nil {
		return err
	}
	_, _, err = b.Director(node, secrets[node])
	return err
}

// hostile is what a test case may change.
type hostile struct {
	t         *testing.T
	farm      *farm
	medium    Medium
	image     []byte // of medium
	pin       string
	node      string
	cluster   string
	confirmed uint64
	phrase    string
}

// entry is where a file's directory entry and its first cluster lie in the image.
func (h *hostile) entry(name string) (entry, data int) {
	v, err := openVolume(bytes.NewReader(h.image), int64(len(h.image)))
	if err != nil {
		h.t.Fatal(err)
	}
	root, err := v.root()
	if err != nil {
		h.t.Fatal(err)
	}
	e, err := findFile("it", root, name)
	if err != nil || e == nil {
		h.t.Fatal(name, err)
	}
	entry = int(v.rootStart) + bytes.Index(h.image[v.rootStart:], []byte(e.short))
	return entry, int(v.dataStart) + int(e.first-2)*int(v.cluster)
}

// remake makes the image anew of h.medium, with no checks.
func (h *hostile) remake(files ...imageFile) {
	disk := &memDisk{b: make([]byte, Floppy)}
	if len(files) == 0 {
		files = []imageFile{{nameBundle, h.medium.Bundle}, {nameSignature, h.medium.Signature}, {nameSecrets, h.medium.Secrets}}
	}
	if err := fill(disk, Floppy, files); err != nil {
		h.t.Fatal(err)
	}
	h.image = disk.b
}

// forged puts a bundle there that the station signed and shouldn't have.
func (h *hostile) forged(change func(*Bundle)) {
	h.medium.Bundle, h.medium.Signature = h.farm.forge(h.t, change)
	h.remake()
}

// signed puts any text there as a bundle, with the station's signature.
func (h *hostile) signed(text string) {
	h.medium.Bundle = []byte(text)
	h.medium.Signature = h.farm.key.sign(h.medium.Bundle, "svm bundle: cluster shop, generation 7")
	h.remake()
}

// edited replaces a text in the bundle and signs it again.
func (h *hostile) edited(old, new string) {
	text := string(h.medium.Bundle)
	if !strings.Contains(text, old) {
		h.t.Fatalf("the bundle has no %q", old)
	}
	h.signed(strings.Replace(text, old, new, 1))
}

func (h *hostile) manifest(node string, change func(*render.Manifest)) {
	h.forged(func(b *Bundle) { h.farm.remanifest(h.t, b, node, change) })
}

var le = binary.LittleEndian

func setFAT12(fat []byte, c, next uint16) {
	at := int(c) * 3 / 2
	word := le.Uint16(fat[at:])
	if c%2 == 0 {
		word = word&0xf000 | next
	} else {
		word = word&0x000f | next<<4
	}
	le.PutUint16(fat[at:], word)
}

// legacy signs in minisign's older form, over the message itself.
func legacy(t *testing.T, k *Key, message []byte) []byte {
	t.Helper()
	sig, err := k.priv.Sign(nil, message, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}
