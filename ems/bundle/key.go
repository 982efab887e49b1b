package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"aead.dev/minisign"
)

// maxSignature is far above the 300 or so bytes of a .minisig file.
const maxSignature = 4096

// Key signs; it is the station's. It is immutable and safe for concurrent use, and
// formatting it never shows its secret half.
type Key struct{ priv minisign.PrivateKey }

// NewKey makes a signing key.
func NewKey() (*Key, error) {
	_, priv, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	return &Key{priv}, nil
}

// ParseKey reads what Key.Encode wrote. Its errors never show the text.
func ParseKey(b []byte) (*Key, error) {
	bad := func(why string) error {
		return refuse(BadKey, "the station's key file", "take it from the station's backup (svm-ems restore)", "%s", why)
	}
	if len(b) > maxSignature {
		return nil, bad("it is far too long for a minisign secret key")
	}
	b = bytes.TrimSpace(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")))
	if minisign.IsEncrypted(b) {
		return nil, bad("it is locked by a password; SVM needs it without one (minisign -C -W)")
	}
	k := new(Key)
	if err := k.priv.UnmarshalText(b); err != nil {
		return nil, bad("it isn't the text of a minisign secret key")
	}
	// A key whose halves don't belong together would give away its secret in signing.
	secret, ok := halves(b)
	if !ok || !bytes.Equal(ed25519.NewKeyFromSeed(secret.Seed()), secret) {
		return nil, bad("its two halves don't fit each other")
	}
	return k, nil
}

// halves is the Ed25519 key in the text of a minisign secret key.
func halves(text []byte) (ed25519.PrivateKey, bool) {
	line := text[bytes.LastIndexByte(text, '\n')+1:]
	b, err := base64.StdEncoding.DecodeString(string(line))
	const start = 2 + 2 + 2 + 32 + 8 + 8 + 8 // algorithms, salt, limits, key ID
	if err != nil || len(b) < start+ed25519.PrivateKeySize {
		return nil, false
	}
	return ed25519.PrivateKey(b[start : start+ed25519.PrivateKeySize]), true
}

// Encode is the secret key as kept in a file of mode 0600: minisign's own text for a
// key without a password.
func (k *Key) Encode() ([]byte, error) {
	b, err := k.priv.MarshalText()
	if err != nil {
		return nil, fmt.Errorf("encoding the station's key: %w", err)
	}
	return append(b, '\n'), nil
}

// Public is the public key's line, as in render.Roster.StationKey.
func (k *Key) Public() string { return k.public().String() }

// ID is the key's ID as the minisign tool shows it: 16 hex digits.
func (k *Key) ID() string { return keyID(k.priv.ID()) }

// String names the key without its secret.
func (k *Key) String() string { return "station key " + k.ID() }

// GoString is String: %#v shows no secret either.
func (k *Key) GoString() string { return k.String() }

func (k *Key) public() minisign.PublicKey { return k.priv.Public().(minisign.PublicKey) }

// KeyID is the ID of a pinned public key: 16 hex digits.
func KeyID(pin string) (string, error) {
	pub, err := parsePin(pin)
	if err != nil {
		return "", err
	}
	return keyID(pub.ID()), nil
}

func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }

// parsePin reads a public key: its line alone, or the text of a minisign.pub file.
func parsePin(pin string) (minisign.PublicKey, error) {
	var pub minisign.PublicKey
	text := strings.TrimSpace(strings.ReplaceAll(pin, "\r\n", "\n"))
	if err := pub.UnmarshalText([]byte(text)); err != nil {
		return pub, refuse(BadKey, "the pinned station key", "enrol this machine again with the station's token (svm-ems token)",
			"it isn't a minisign public key")
	}
	return pub, nil
}

// sign is deterministic: minisign's pre-hashed form, without a time.
func (k *Key) sign(message []byte, trusted string) []byte {
	r := minisign.NewReader(bytes.NewReader(message))
	_, _ = io.Copy(io.Discard, r) // neither end of it can fail
	return r.SignWithComments(k.priv, trusted, "signature of SVM station key "+k.ID())
}

// verify returns the comment that is signed together with message.
func verify(what string, message, sig []byte, pin minisign.PublicKey) (trusted string, err error) {
	if len(bytes.TrimSpace(sig)) == 0 {
		return "", refuse(Unsigned, what, sendAgain, "it has no signature")
	}
	if len(sig) > maxSignature {
		return "", refuse(Damaged, what, sendAgain, "its signature has %d bytes, no minisign signature has more than %d", len(sig), maxSignature)
	}
	var s minisign.Signature
	err = s.UnmarshalText(sig)
	again, _ := s.MarshalText()
	if err != nil || !bytes.Equal(again, sig) { // base64 has bits that mean nothing
		return "", refuse(Damaged, what, sendAgain, "its signature isn't the text of a minisign signature")
	}
	if s.KeyID != pin.ID() {
		return "", refuse(ForeignKey, what, "if that station is yours now, enrol this machine again with its token (svm-ems token)",
			"signed with key %s, this machine trusts %s", keyID(s.KeyID), keyID(pin.ID()))
	}
	// The older form signs the message itself; the station never makes it.
	if s.Algorithm != minisign.HashEdDSA || !minisign.Verify(pin, message, sig) {
		return "", refuse(Damaged, what, sendAgain, "the signature does not fit")
	}
	return s.TrustedComment, nil
}
