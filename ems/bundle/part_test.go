package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"github.com/svm-cluster/svm/ems/render"
	"strings"
	"testing"
)

func TestRefusedParts(t *testing.T) {
	f := newFarm(t, 2)
	b := f.open(t)
	good, err := b.Part("eps1")
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Part("eps2")
	if err != nil {
		t.Fatal(err)
	}
	change := func(do func(p *Part)) []byte {
		var p Part
		if err := decode("it", good, &p); err != nil {
			t.Fatal(err)
		}
		do(&p)
		raw, err := encode(p)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	remanifest := func(node string, do func(*render.Manifest)) []byte {
		return change(func(p *Part) {
			b := f.open(t)
			f.remanifest(t, b, node, do)
			p.Manifest, p.Signature = b.signed(node).Manifest, b.signed(node).Signature
		})
	}
	for name, c := range map[string]struct {
		raw  []byte
		want Reason
		text string
	}{
		"for another machine":    {other, ForeignNode, "it is for eps2, this is eps1"},
		"of a director":          {remanifest("eds1", func(*render.Manifest) {}), ForeignNode, "director"},
		"too large":              {make([]byte, MaxPart+1), TooLarge, ""},
		"a bomb of files":        {[]byte(`{"format":1,"files":[` + strings.Repeat("{},", 2_000_000) + `{}]}`), TooLarge, "files"},
		"empty":                  {nil, Damaged, "JSON"},
		"nested":                 {bytes.Repeat([]byte("["), MaxPart), Damaged, "JSON"},
		"cut":                    {good[:len(good)-100], Damaged, "JSON"},
		"something follows":      {append(bytes.Clone(good), good...), Damaged, "JSON"},
		"format 2":               {bytes.Replace(good, []byte(`"format": 1`), []byte(`"format": 2`), 1), UnknownFormat, ""},
		"unknown field":          {bytes.Replace(good, []byte(`"format": 1`), []byte(`"format": 1, "run": "sh"`), 1), Damaged, "run"},
		"unsigned":               {change(func(p *Part) { p.Signature = "" }), Unsigned, ""},
		"a stranger's":           {change(func(p *Part) { k, _ := NewKey(); p.Signature = string(k.sign([]byte(p.Manifest), "x")) }), ForeignKey, ""},
		"manifest edited":        {change(func(p *Part) { p.Manifest = strings.Replace(p.Manifest, "eps1", "eps2", 1) }), Damaged, "does not fit"},
		"a file edited":          {change(func(p *Part) { p.Files[0].Data[9] ^= 1 }), Damaged, "other contents"},
		"a file longer":          {change(func(p *Part) { p.Files[0].Data = append(p.Files[0].Data, '\n') }), Damaged, "bytes"},
		"a file left out":        {change(func(p *Part) { p.Files = p.Files[1:] }), Damaged, "lists"},
		"a file too many":        {change(func(p *Part) { p.Files = append(p.Files, PartFile{"/etc/shadow", nil}) }), Damaged, "lists"},
		"a file renamed":         {change(func(p *Part) { p.Files[0].Path = "/etc/shadow" }), Damaged, "isn't"},
		"files exchanged":        {change(func(p *Part) { p.Files[0], p.Files[1] = p.Files[1], p.Files[0] }), Damaged, "isn't"},
		"traversal, signed":      {remanifest("eps1", func(m *render.Manifest) { m.Files[0].Path = "/etc/svm/../../root/.profile" }), Damaged, "shortest"},
		"a secret, signed":       {remanifest("eps1", func(m *render.Manifest) { m.Files[0].Secret, m.Files[0].Mode = true, 0o600 }), Contradictory, "secret"},
		"the bundle's signature": {change(func(p *Part) { raw, sig := f.make(t); p.Manifest, p.Signature = string(raw), string(sig) }), Damaged, "manifest"},
	} {
		cfg, signed, err := OpenPart(c.raw, f.key.Public(), "eps1")
		if cfg != nil || signed != nil || !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s: %v\nwant %q with %q", name, err, c.want, c.text)
		}
	}
	for bit := 0; bit < len(good)*8; bit += 53 {
		good[bit/8] ^= 1 << (bit % 8)
		// One line, the signature's first, isn't signed and may differ.
		if cfg, _, err := OpenPart(good, f.key.Public(), "eps1"); err == nil {
			m, _ := render.ParseManifest([]byte(b.signed("eps1").Manifest))
			if err := m.Verify(cfg); err != nil {
				t.Fatalf("bit %d: another part was taken: %v", bit, err)
			}
		}
		good[bit/8] ^= 1 << (bit % 8)
	}
}

func FuzzOpenPart(f *testing.F) {
	farm := newFarm(f, 1)
	part, err := farm.open(f).Part("eps1")
	if err != nil {
		f.Fatal(err)
	}
	pin := farm.key.Public()
	f.Add(part)
	f.Add([]byte(`{"format":1,"manifest":"","signature":"","files":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := OpenPart(b, pin, ""); err == nil && !bytes.Equal(b, part) {
			var was, is Part
			if decode("it", part, &was) != nil || decode("it", b, &is) != nil || was.Manifest != is.Manifest {
				t.Fatal("another part was taken")
			}
		}
	})
}
