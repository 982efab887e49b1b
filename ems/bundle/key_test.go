package bundle

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestKeyRoundTrip(t *testing.T) {
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, []byte("untrusted comment: minisign encrypted secret key\nRWQAA")) {
		t.Errorf("not minisign's text of a key without password")
	}
	for _, text := range [][]byte{text, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")), bytes.TrimSpace(text)} {
		again, err := ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if again.Public() != k.Public() || !bytes.Equal(again.sign([]byte("x"), "c"), k.sign([]byte("x"), "c")) {
			t.Error("another key came back")
		}
	}
	id, err := KeyID("untrusted comment: minisign public key\n" + k.Public() + "\n")
	if err != nil || id != k.ID() || len(id) != 16 {
		t.Errorf("KeyID = %q, %v; want %s", id, err, k.ID())
	}
}

// No damaged key is used, and no error or print shows one.
func TestKeyTellsNothing(t *testing.T) {
	k, _ := NewKey()
	text, _ := k.Encode()
	_, line, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	secret := line[80:200] // within the key's halves
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s", k, k, k, k), fmt.Sprintf("%+v", struct{ K *Key }{k})} {
		raw, _ := base64.StdEncoding.DecodeString(line)
		if strings.Contains(s, secret) || strings.Contains(s, fmt.Sprint(raw[62:72])) {
			t.Errorf("printed: %s", s)
		}
	}
	bad := map[string][]byte{
		"empty":     nil,
		"truncated": text[:len(text)-20],
		"long":      bytes.Repeat(text, 100),
		"public":    []byte(k.Public()),
		"no base64": append([]byte("untrusted comment: x\n%%%"), line...),
	}
	raw, _ := base64.StdEncoding.DecodeString(line)
	for _, at := range []int{0, 3, 62, 80, 94, 110, 125} {
		b := bytes.Clone(raw)
		b[at] ^= 4
		bad[fmt.Sprintf("flip at %d", at)] = []byte("untrusted comment: x\n" + base64.StdEncoding.EncodeToString(b))
	}
	for name, b := range bad {
		k, err := ParseKey(b)
		if k != nil || !errors.Is(err, BadKey) {
			t.Errorf("%s: %v, %v", name, k, err)
		} else if strings.Contains(err.Error(), line[80:90]) || strings.Contains(err.Error(), "RW") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}
