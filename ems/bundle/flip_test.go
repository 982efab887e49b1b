package bundle

import (
	"bytes"
	"errors"
	"testing"
)

// Every so many bits of a medium are flipped in turn: what is read is the same bundle
// exactly, or it is refused with a reason.
func TestFlipBits(t *testing.T) {
	f := newFarm(t, 1)
	m := f.medium(t)
	img, err := Image(Floppy, m)
	if err != nil {
		t.Fatal(err)
	}
	pin := f.key.Public()
	end := len(img) - len(bytes.TrimRight(img, "\x00")) // what follows is free
	used := len(img) - end
	refused, same := 0, 0
	flip := func(bit int) {
		img[bit/8] ^= 1 << (bit % 8)
		defer func() { img[bit/8] ^= 1 << (bit % 8) }()
		got, err := readMedium("it", bytes.NewReader(img), int64(len(img)))
		if err == nil && (!bytes.Equal(got.Bundle, m.Bundle) || !bytes.Equal(got.Signature, m.Signature)) {
			_, err = Open(got.Bundle, got.Signature, pin)
		}
		var typed *Error
		switch {
		case err == nil && bytes.Equal(got.Bundle, m.Bundle):
			same++
		case err == nil:
			t.Fatalf("bit %d: another bundle was taken", bit)
		case !errors.As(err, &typed) || typed.Reason == "" || typed.Remedy == "":
			t.Fatalf("bit %d: refused without reason or remedy: %v", bit, err)
		default:
			refused++
		}
	}
	for bit := range 512 * 8 { // the boot sector whole
		flip(bit)
	}
	for bit := 512 * 8; bit < used*8; bit += 31 { // odd, so that all bits of a byte have their turn
		flip(bit)
	}
	for bit := used * 8; bit < len(img)*8; bit += 40009 {
		flip(bit)
	}
	t.Logf("%d flips refused, %d without effect; %d bytes of the image are in use", refused, same, used)
	if refused < 100 || same < 100 {
		t.Errorf("%d refused, %d the same: the flips don't reach what they should", refused, same)
	}
}

// The same without the medium: each bit of the signature, and many of the bundle.
func TestFlipBundle(t *testing.T) {
	f := newFarm(t, 1)
	raw, sig := f.make(t)
	pin := f.key.Public()
	for bit := range len(sig) * 8 {
		sig[bit/8] ^= 1 << (bit % 8)
		_, err := Open(raw, sig, pin)
		line, _, _ := bytes.Cut(sig, []byte("\n"))
		if err == nil && bit/8 >= len(line) {
			// The first line is anybody's comment.
			t.Errorf("bit %d of byte %d (%q) doesn't count", bit%8, bit/8, sig[bit/8])
		}
		sig[bit/8] ^= 1 << (bit % 8)
	}
	for bit := 0; bit < len(raw)*8; bit += 211 {
		raw[bit/8] ^= 1 << (bit % 8)
		if _, err := Open(raw, sig, pin); !errors.Is(err, Damaged) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
}
