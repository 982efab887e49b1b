// Package enroll introduces a machine and the station to each other, once, before
// the first configuration: the station's Token tells the machine whom to believe, the
// machine's Line tells the station which keys it has. Both are public.
package enroll

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"aead.dev/minisign"
	"filippo.io/age"
	"golang.org/x/crypto/ssh"
)

// Token is what a machine needs to know of its station. Its text holds public keys
// only, but whoever can change it on its way owns the machine: compare the key ids.
type Token struct {
	StationKey string   `json:"station_key"` // minisign public key, the base64 line
	StationSSH string   `json:"station_ssh"` // authorized_keys line of the station
	Relays     []string `json:"relays"`      // authorized_keys lines of the directors, for real servers
}

const tokenPrefix = "svm1:"

// maxText bounds what is read of a token or a line, in bytes.
const maxText = 64 << 10

// String is the token as one word.
func (t Token) String() string {
	b, _ := json.Marshal(t) // strings only: cannot fail
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads what String wrote, and checks every key in it.
func ParseToken(s string) (Token, error) {
	var t Token
	s = strings.TrimSpace(s)
	if len(s) > maxText {
		return t, errors.New("token: it is too long to be one")
	}
	word, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		return t, fmt.Errorf("token: want the word %s... that svm-ems token prints", tokenPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(word)
	if err != nil {
		return t, errors.New("token: it is damaged: copy it again, whole")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return t, errors.New("token: it is damaged, or of another version of svm-ems")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return t, errors.New("token: something follows its end: copy it again")
	}
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte(t.StationKey)); err != nil {
		return t, errors.New("token: the station's signing key in it is damaged")
	}
	for _, line := range append(slices.Clone(t.Relays), t.StationSSH) {
		if _, err := CleanKey(line); err != nil {
			return t, fmt.Errorf("token: an SSH key in it: %w", err)
		}
	}
	return t, nil
}

// Line is what the station needs to know of a machine.
type Line struct {
	Name    string // as in the cluster file
	HostKey string // of its sshd: "ssh-ed25519 AAAA..."; empty: unknown
	Age     string // recipient that secrets are sealed to: "age1..."; empty: none
}

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// String is the line that enroll prints on the machine: name, host key, recipient.
func (l Line) String() string {
	return strings.Join(strings.Fields(l.Name+" "+l.HostKey+" "+l.Age), " ")
}

// ParseLine reads what String wrote.
func ParseLine(s string) (Line, error) {
	var l Line
	if len(s) > maxText || strings.ContainsAny(strings.TrimSpace(s), "\r\n\x00") {
		return l, errors.New("machine line: want one line: NAME ssh-ed25519 AAAA... [age1...]")
	}
	f := strings.Fields(s)
	if len(f) < 2 {
		return l, errors.New("machine line: want NAME ssh-ed25519 AAAA... [age1...], as enroll prints it on the machine")
	}
	l.Name, f = f[0], f[1:]
	if !label.MatchString(l.Name) {
		return l, fmt.Errorf("machine line: %q is no machine's name: want letters a-z, digits and inner hyphens", l.Name)
	}
	if last := f[len(f)-1]; strings.HasPrefix(last, "age1") {
		if _, err := age.ParseX25519Recipient(last); err != nil {
			return l, errors.New("machine line: the age1... word is damaged: copy the line again")
		}
		l.Age, f = last, f[:len(f)-1]
	}
	if len(f) > 0 {
		key, err := CleanKey(strings.Join(f, " "))
		if err != nil {
			return l, fmt.Errorf("machine line: host key: %w", err)
		}
		l.HostKey = key
	}
	return l, nil
}

// CleanKey reads one public SSH key without options and returns it without its comment.
func CleanKey(line string) (string, error) {
	if strings.ContainsAny(line, "\r\n\x00") {
		return "", errors.New("want one key on one line")
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 {
		return "", errors.New("want one public key: its type and its text, without options")
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}
