package enroll

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
	"filippo.io/age"
	"github.com/svm-cluster/svm/ems/render"
	"golang.org/x/crypto/ssh"
)

func sshKey(t *testing.T) string {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func token(t *testing.T) Token {
	t.Helper()
	pub, _, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := pub.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return Token{StationKey: lines[len(lines)-1], StationSSH: sshKey(t), Relays: []string{sshKey(t), sshKey(t)}}
}

func TestTokenRoundTrip(t *testing.T) {
	tok := token(t)
	got, err := ParseToken(" " + tok.String() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != tok.String() {
		t.Errorf("got %+v, want %+v", got, tok)
	}
}

func TestTokenRefused(t *testing.T) {
	good := token(t).String()
	json := func(s string) string { return tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for name, text := range map[string]string{
		"empty":          "",
		"another word":   "svm2:" + good[5:],
		"cut":            good[:len(good)-20],
		"no base64":      tokenPrefix + "!!!",
		"no JSON":        json("hello"),
		"unknown field":  json(`{"station_key":"x","more":1}`),
		"bad key":        json(`{"station_key":"x","station_ssh":"","relays":[]}`),
		"second value":   json(`{}{}`),
		"very long":      tokenPrefix + strings.Repeat("A", maxText),
		"damaged middle": good[:40] + "AAAA" + good[44:],
	} {
		if _, err := ParseToken(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	tok := token(t)
	tok.Relays[0] = `command="/bin/sh" ` + tok.Relays[0]
	if _, err := ParseToken(tok.String()); err == nil {
		t.Error("an SSH key with options: accepted")
	}
	tok = token(t)
	tok.StationSSH += "\n" + sshKey(t)
	if _, err := ParseToken(tok.String()); err == nil {
		t.Error("two keys in one line: accepted")
	}
}

func TestLine(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := sshKey(t)
	for _, want := range []Line{
		{"eds1", key, id.Recipient().String()},
		{"eps1", key, ""},
		{"eps1", "", id.Recipient().String()},
	} {
		got, err := ParseLine(want.String() + "\n")
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v", want, got, err)
		}
	}
	for _, bad := range []string{
		"", "eds1", "../x " + key, "EDS1 " + key, "eds1 " + key[:40], "eds1 age1xyz",
		"eds1 " + key + "\neds2 " + key, `eds1 command="x" ` + key, "eds1 @cert-authority " + key,
	} {
		if l, err := ParseLine(bad); err == nil {
			t.Errorf("%q: accepted as %+v", bad, l)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("svm1:e30")
	f.Add("eds1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA age1x")
	f.Fuzz(func(t *testing.T, s string) {
		if tok, err := ParseToken(s); err == nil {
			if again, err := ParseToken(tok.String()); err != nil || again.String() != tok.String() {
				t.Errorf("%q: not the same again: %v", s, err)
			}
		}
		if l, err := ParseLine(s); err == nil {
			if again, err := ParseLine(l.String()); err != nil || again != l {
				t.Errorf("%q: not the same again: %v", s, err)
			}
		}
	})
}

// machine is a director below a temporary root.
func machine(t *testing.T, kind render.Kind, tok Token) *Machine {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/ssh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, hostKeyFile), []byte(sshKey(t)+" root@host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return &Machine{Root: root, Kind: kind, Name: "eds1", User: u.Username, Receiver: "/usr/local/bin/svm-fwd receive", Token: tok}
}

func TestEnroll(t *testing.T) {
	tok := token(t)
	m := machine(t, render.Director, tok)
	u, _ := user.Current()
	keys := m.path(filepath.Join(u.HomeDir, ".ssh/authorized_keys"))
	if err := os.MkdirAll(filepath.Dir(keys), 0o700); err != nil {
		t.Fatal(err)
	}
	const own = "ssh-ed25519 AAAAoperator me@desk\n"
	if err := os.WriteFile(keys, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := m.Enroll()
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Enroll()
	if err != nil {
		t.Fatal(err)
	}
	if first != again || first.Age == "" || first.HostKey == "" {
		t.Errorf("enrolled twice: %+v, then %+v", first, again)
	}
	got, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	want := own + `restrict,command="/usr/local/bin/svm-fwd receive" ` + tok.StationSSH + " " + mark + "\n"
	if string(got) != want {
		t.Errorf("authorized_keys:\n%s\nwant\n%s", got, want)
	}
	for path, mode := range map[string]os.FileMode{IdentityFile: 0o600, PinFile: 0o644} {
		if st, err := os.Stat(m.path(path)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, st, err)
		}
	}
	m.Token = token(t)
	if _, err := m.Enroll(); err == nil || !strings.Contains(err.Error(), "another station") {
		t.Errorf("a second station: %v", err)
	}
}

func TestEnrollRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Machine){
		"no host key":    func(m *Machine) { os.Remove(m.path(hostKeyFile)) },
		"no such user":   func(m *Machine) { m.User = "nobody-of-that-name" },
		"no name":        func(m *Machine) { m.Name = "localhost.localdomain" },
		"no relays":      func(m *Machine) { m.Kind, m.Token.Relays = render.RealServer, nil },
		"a spoilt key":   func(m *Machine) { spoilt(m, IdentityFile, "AGE-SECRET-KEY-1XYZ") },
		"an empty key":   func(m *Machine) { spoilt(m, IdentityFile, "# nothing\n") },
		"no public key ": func(m *Machine) { spoilt(m, hostKeyFile, "-----BEGIN") },
	} {
		m := machine(t, render.Director, token(t))
		spoil(m)
		_, err := m.Enroll()
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), "SECRET-KEY-1XYZ") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
		if _, err := os.Stat(m.path(PinFile)); err == nil {
			t.Errorf("%s: the machine counts as enrolled", name)
		}
	}
}

func spoilt(m *Machine, path, text string) {
	_ = os.MkdirAll(filepath.Dir(m.path(path)), 0o755)
	_ = os.WriteFile(m.path(path), []byte(text), 0o600)
}
