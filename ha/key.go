package ha

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// KeySize is the length of the pair's key in bytes.
const KeySize = 32

// ReadKey reads the pair's key: 64 hex digits, in a regular file that only its
// owner may touch (mode 0600 or less). White space around them is ignored.
func ReadKey(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for ever
	if err != nil {
		return nil, fmt.Errorf("ha: key file: %w (make one with: svm-fwd genkey > %s)", err, path)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("ha: key file: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("ha: key file %s is not a regular file", path)
	}
	if m := st.Mode().Perm(); m&0o177 != 0 {
		return nil, fmt.Errorf("ha: key file %s has mode %04o, others than its owner could use it: chmod 600 %s", path, m, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return nil, fmt.Errorf("ha: key file: %w", err)
	}
	key, err := ParseKey(b)
	if err != nil {
		return nil, fmt.Errorf("ha: key file %s: %w", path, err)
	}
	return key, nil
}

// ParseKey reads 64 hex digits. Its errors never show the text.
func ParseKey(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if len(text) != 2*KeySize {
		return nil, fmt.Errorf("want %d hex digits, got %d characters", 2*KeySize, len(text))
	}
	key := make([]byte, KeySize)
	if _, err := hex.Decode(key, text); err != nil {
		return nil, errors.New("want hex digits only (0-9, a-f)")
	}
	if bytes.Equal(key, make([]byte, KeySize)) {
		return nil, errors.New("a key of zeros is no key")
	}
	return key, nil
}

// GenerateKey returns a new random key as 64 hex digits and a line end.
func GenerateKey() string {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails (Go 1.24)
	return hex.EncodeToString(key) + "\n"
}
