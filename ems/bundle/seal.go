package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/svm-cluster/svm/ems/render"
)

// Limits of what is sealed, in bytes of the armored text.
const (
	maxSealed  = 64 << 10  // one director's
	maxSecrets = 256 << 10 // a medium's
)

// workFactor is scrypt's log2 N: 2^18 takes about a second and 256 MiB. It is also
// the most that UnsealAll does for a file that anybody may have made.
const workFactor = 18

// MinPassphrase is the shortest passphrase, in bytes, that SealAll takes: the medium may
// get lost, and then it is all that keeps the keys.
const MinPassphrase = 10

// NewIdentity makes a machine's age identity: the text of its key file (mode 0600),
// and its recipient.
func NewIdentity() (identity []byte, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, "", fmt.Errorf("making a machine key: %w", err)
	}
	recipient = id.Recipient().String()
	return []byte("# SVM machine key, made on this machine: never copy it\n# public key: " + recipient + "\n" + id.String() + "\n"), recipient, nil
}

// Recipient is the public half of an identity's text.
func Recipient(identity []byte) (string, error) {
	id, err := parseIdentity(identity)
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), nil
}

func parseIdentity(text []byte) (*age.X25519Identity, error) {
	const enrol = "make a new one by enrolling this machine again (svm-ems token)"
	if len(text) > maxSealed {
		return nil, refuse(BadKey, "the machine key", enrol, "its file is far too long")
	}
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil || len(ids) != 1 { // err may quote the key
		return nil, refuse(BadKey, "the machine key", enrol, "its file doesn't hold one age identity")
	}
	id, ok := ids[0].(*age.X25519Identity)
	if !ok {
		return nil, refuse(BadKey, "the machine key", enrol, "its file doesn't hold an X25519 identity")
	}
	return id, nil
}

func checkRecipient(s string) (age.Recipient, error) { return age.ParseX25519Recipient(s) }

// seal encrypts v as JSON, armored.
func seal(v any, to age.Recipient) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("secrets that aren't JSON")
	}
	var b bytes.Buffer
	a := armor.NewWriter(&b)
	w, err := age.Encrypt(a, to)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return b.Bytes(), nil
}

// unseal opens what seal made into v. wrong is the reason where the key doesn't fit.
func unseal(what string, sealed []byte, limit int, id age.Identity, wrong Reason, remedy string, v any) error {
	if len(sealed) > limit {
		return refuse(TooLarge, what, sendAgain, "%d bytes, at most %d are read", len(sealed), limit)
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), id)
	if err != nil {
		var none *age.NoIdentityMatchError
		if errors.As(err, &none) {
			return refuse(wrong, what, remedy, "it was sealed for another one")
		}
		if strings.Contains(err.Error(), "work factor") {
			return refuse(Damaged, what, sendAgain, "it asks for more than 2^%d steps of scrypt", workFactor)
		}
		return refuse(Damaged, what, sendAgain, "it isn't a whole age file")
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(limit)))
	if err != nil {
		return refuse(Damaged, what, sendAgain, "its end is missing or was changed")
	}
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields()
	if d.Decode(v) != nil || d.InputOffset() != int64(len(plain)) { // json's errors may quote
		return refuse(Damaged, what, sendAgain, "what is sealed in it isn't what a station seals")
	}
	return nil
}

// Unseal opens node's secrets with the machine's identity.
func (b *Bundle) Unseal(node string, identity []byte) (render.Secrets, error) {
	id, err := parseIdentity(identity)
	if err != nil {
		return render.Secrets{}, err
	}
	for _, s := range b.Secrets {
		if s.Node != node {
			continue
		}
		var out render.Secrets
		what := "the secrets of " + node
		if err := unseal(what, []byte(s.Age), maxSealed, id, WrongKey,
			"give the station this machine's key (svm-ems enroll) and have it commit and send again", &out); err != nil {
			return render.Secrets{}, err
		}
		return out, nil
	}
	return render.Secrets{}, refuse(NoSecrets, "the bundle",
		"enrol the machine at the station (svm-ems enroll), or use a medium with secrets and its passphrase", "none are sealed to %s", node)
}

// SealAll seals all directors' secrets with a passphrase, for a medium. It is slow on
// purpose (about a second).
func SealAll(secrets map[string]render.Secrets, passphrase string) ([]byte, error) {
	return sealAll(secrets, passphrase, workFactor)
}

func sealAll(secrets map[string]render.Secrets, passphrase string, logN int) ([]byte, error) {
	if len(passphrase) < MinPassphrase {
		return nil, refuse(BadKey, "the passphrase", "take a longer one: five random words, say", "it has fewer than %d characters", MinPassphrase)
	}
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, refuse(BadKey, "the passphrase", "take another one", "age refuses it")
	}
	to.SetWorkFactor(logN)
	b, err := seal(secrets, to)
	if err == nil && len(b) > maxSecrets {
		return nil, refuse(TooLarge, "secrets.age", "", "%d bytes, at most %d fit", len(b), maxSecrets)
	}
	return b, err
}

// UnsealAll opens what SealAll made. A file that asks for more than a second or so of
// work is refused.
func UnsealAll(sealed []byte, passphrase string) (map[string]render.Secrets, error) {
	if len(sealed) == 0 {
		return nil, refuse(NoSecrets, "the medium", "have the station write it with a passphrase", "secrets.age isn't on it")
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, refuse(WrongPhrase, "secrets.age", "type the passphrase that was given to `svm-ems image write`", "the passphrase is empty")
	}
	id.SetMaxWorkFactor(workFactor)
	var out map[string]render.Secrets
	if err := unseal("secrets.age", sealed, maxSecrets, id, WrongPhrase,
		"type the passphrase that was given to `svm-ems image write`", &out); err != nil {
		return nil, err
	}
	return out, nil
}
