package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/svm-cluster/svm/ems/render"
)

const phrase = "seven ducks on a pond"

func TestUnseal(t *testing.T) {
	f := newFarm(t, 1)
	b := f.open(t)
	got, err := b.Unseal("eds1", f.identity)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, f.secrets["eds1"]) {
		t.Error("other secrets came out")
	}
	if _, _, err := b.Director("eds1", got); err != nil {
		t.Error(err)
	}
	if _, err := b.Unseal("eds2", f.identity); !errors.Is(err, NoSecrets) {
		t.Errorf("a director without a key: %v", err)
	}
	other, _, _ := NewIdentity()
	if _, err := b.Unseal("eds1", other); !errors.Is(err, WrongKey) {
		t.Errorf("another machine's key: %v", err)
	}
	for _, id := range [][]byte{nil, f.identity[:len(f.identity)-10], []byte("AGE-SECRET-KEY-1QQQ"), bytes.Repeat(f.identity, 2), bytes.Repeat([]byte("x"), 1<<20)} {
		_, err := b.Unseal("eds1", id)
		if !errors.Is(err, BadKey) || strings.Contains(err.Error(), "SECRET-KEY") {
			t.Errorf("identity of %d bytes: %v", len(id), err)
		}
	}
}

func TestIdentity(t *testing.T) {
	id, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Recipient(id)
	if err != nil || got != recipient || !strings.HasPrefix(recipient, "age1") {
		t.Errorf("%q, %v; want %q", got, err, recipient)
	}
}

func TestSealAll(t *testing.T) {
	all := map[string]render.Secrets{"eds1": secretsOf(1), "eds2": secretsOf(2)}
	sealed, err := SealAll(all, phrase) // as hard as in the field, once
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(sealed, []byte(armor.Header)) || bytes.Contains(sealed, []byte("0a0a")) {
		t.Error("not an armored age file")
	}
	got, err := UnsealAll(sealed, phrase)
	if err != nil || !reflect.DeepEqual(got, all) {
		t.Errorf("other secrets came out, %v", err)
	}
	if _, err := SealAll(all, "short"); !errors.Is(err, BadKey) {
		t.Errorf("a short passphrase: %v", err)
	}
	huge := render.Secrets{RelayKey: bytes.Repeat([]byte{1}, maxSecrets)}
	if _, err := sealAll(map[string]render.Secrets{"eds1": huge}, phrase, 1); !errors.Is(err, TooLarge) {
		t.Errorf("huge secrets: %v", err)
	}
}

// ageFile is any text, sealed for phrase.
func ageFile(t *testing.T, plain []byte, logN int) []byte {
	t.Helper()
	r, err := age.NewScryptRecipient(phrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(logN)
	var b bytes.Buffer
	a := armor.NewWriter(&b)
	w, err := age.Encrypt(a, r)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(plain)
	if err := errors.Join(err, w.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bomb asks for 2^logN steps of scrypt; to make it costs nothing.
func bomb(t *testing.T, logN int) []byte {
	t.Helper()
	var b bytes.Buffer
	a := armor.NewWriter(&b)
	fmt.Fprintf(a, "age-encryption.org/v1\n-> scrypt %s %d\n%s\n--- %s\n", strings.Repeat("A", 22), logN, strings.Repeat("A", 43), strings.Repeat("A", 43))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnsealAllRefuses(t *testing.T) {
	good, err := sealAll(map[string]render.Secrets{"eds1": secretsOf(1)}, phrase, 4)
	if err != nil {
		t.Fatal(err)
	}
	flip := bytes.Clone(good)
	flip[len(flip)-60] ^= 1
	for name, c := range map[string]struct {
		sealed []byte
		phrase string
		want   Reason
	}{
		"wrong passphrase":   {good, phrase + "s", WrongPhrase},
		"empty passphrase":   {good, "", WrongPhrase},
		"none there":         {nil, phrase, NoSecrets},
		"too large":          {make([]byte, maxSecrets+1), phrase, TooLarge},
		"cut":                {good[:len(good)/2], phrase, Damaged},
		"flipped":            {flip, phrase, Damaged},
		"no age file":        {[]byte("PK\x03\x04"), phrase, Damaged},
		"something after it": {append(bytes.Clone(good), good...), phrase, Damaged},
		"bomb 19":            {bomb(t, 19), phrase, Damaged},
		"bomb 30":            {bomb(t, 30), phrase, Damaged},
		"bomb 9999999999":    {bomb(t, 9999999999), phrase, Damaged},
		"not JSON":           {ageFile(t, []byte("topsecret"), 4), phrase, Damaged},
		"unknown field":      {ageFile(t, []byte(`{"eds1":{"relay_key":"","topsecret":1}}`), 4), phrase, Damaged},
		"two documents":      {ageFile(t, []byte(`{}{"topsecret":{}}`), 4), phrase, Damaged},
		"blown up":           {ageFile(t, bytes.Repeat([]byte(" "), maxSecrets*2), 4), phrase, TooLarge},
	} {
		got, err := UnsealAll(c.sealed, c.phrase)
		if got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		} else if strings.Contains(err.Error(), "topsecret") || c.phrase != "" && strings.Contains(err.Error(), c.phrase) {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		} else if Remedy(err) == "" {
			t.Errorf("%s: %v: no remedy", name, err)
		}
	}
}
