package bundle

import (
	"context"
	"errors"

	"github.com/svm-cluster/svm/ems/render"
)

var errStub = errors.New("bundle: not written yet")

// Key signs; it is the station's.
type Key struct{}

// NewKey makes a signing key.
func NewKey() (*Key, error) { return nil, errStub }

// ParseKey reads what Key.Encode wrote. Its errors never show the text.
func ParseKey(b []byte) (*Key, error) { return nil, errStub }

// Encode is the secret key as kept in a file of mode 0600.
func (k *Key) Encode() ([]byte, error) { return nil, errStub }

// Public is the public key's line, as in render.Roster.StationKey.
func (k *Key) Public() string { return "" }

// Make renders and signs one generation. secrets are by director.
func Make(in render.Input, meta Meta, secrets map[string]render.Secrets, key *Key) (raw, sig []byte, err error) {
	return nil, nil, errStub
}

// Open verifies sig over raw with the pinned public key first, and only then reads raw.
func Open(raw, sig []byte, pin string) (*Bundle, error) { return nil, errStub }

// Input is what the bundle was made of.
func (b *Bundle) Input() render.Input { return render.Input{} }

// Director renders the director's files and compares them with its signed manifest.
func (b *Bundle) Director(node string, s render.Secrets) (*render.Config, *Signed, error) {
	return nil, nil, errStub
}

// Part renders a real server's files and compares them with its signed manifest.
func (b *Bundle) Part(node string) ([]byte, error) { return nil, errStub }

// OpenPart verifies a part with the pinned key, its node (if not empty) and its files.
func OpenPart(raw []byte, pin, node string) (*render.Config, *Signed, error) { return nil, nil, errStub }

// NewIdentity makes a machine's age identity: the text of its key file, and its recipient.
func NewIdentity() (identity []byte, recipient string, err error) { return nil, "", errStub }

// Unseal opens node's secrets with the machine's identity.
func (b *Bundle) Unseal(node string, identity []byte) (render.Secrets, error) {
	return render.Secrets{}, errStub
}

// SealAll seals all directors' secrets with a passphrase, for a medium.
func SealAll(secrets map[string]render.Secrets, passphrase string) ([]byte, error) { return nil, errStub }

// UnsealAll opens what SealAll made.
func UnsealAll(sealed []byte, passphrase string) (map[string]render.Secrets, error) { return nil, errStub }

// Size of an image.
type Size int64

const (
	Floppy Size = 1474560 // 1.44 MB, FAT12
	USB    Size = 32 << 20
)

// WriteImage makes a FAT image of m at path, byte for byte the same each time.
func WriteImage(path string, size Size, m Medium) error { return errStub }

// ReadImage reads a medium: an image file or a block device.
func ReadImage(path string) (Medium, error) { return Medium{}, errStub }

// FindMedia lists the block devices that carry our volume label.
func FindMedia(ctx context.Context) ([]string, error) { return nil, errStub }
