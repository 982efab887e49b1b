package flowsync

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// Every datagram begins with version (1 byte) and kind (1). Data and status go on
// with the session's tag (6) and a number (8), which with the kind is also the
// AEAD's nonce; these 16 bytes are authenticated, what follows is encrypted too.
const (
	version     = 1
	kindHello   = 1
	kindData    = 2
	kindStatus  = 3
	maxDatagram = 1400
	headerLen   = 16
	tagLen      = 16
	maxPayload  = maxDatagram - headerLen - tagLen
)

// A session ends before its numbers reach this, far below what AES-GCM bears.
const lastNumber = 1 << 32

type nonce [16]byte

// half is one direction of a session.
type half struct {
	aead  cipher.AEAD
	tag   [6]byte
	nonce [12]byte // scratch: kept here so that it is not allocated each time
}

// newHalf derives the direction from the side that chose one nonce to the side
// that chose the other. The key is fresh if either nonce is.
func newHalf(key *[32]byte, from, to nonce) (half, error) {
	salt := append(from[:], to[:]...)
	secret, err := hkdf.Key(sha256.New, key[:], salt, "svm flowsync 1 session", 32+6)
	if err != nil {
		return half{}, err
	}
	block, err := aes.NewCipher(secret[:32])
	if err != nil {
		return half{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return half{}, err
	}
	return half{aead: aead, tag: [6]byte(secret[32:])}, nil
}

// seal completes a datagram in place: buf is headerLen bytes of room and the
// payload, with capacity for tagLen more.
func (h *half) seal(buf []byte, kind byte, number uint64) []byte {
	buf[0], buf[1] = version, kind
	copy(buf[2:8], h.tag[:])
	binary.BigEndian.PutUint64(buf[8:], number)
	h.setNonce(kind, number)
	sealed := h.aead.Seal(buf[headerLen:headerLen], h.nonce[:], buf[headerLen:], buf[:headerLen])
	return buf[:headerLen+len(sealed)]
}

// open decrypts a datagram in place and returns its payload.
func (h *half) open(d []byte) ([]byte, bool) {
	h.setNonce(d[1], binary.BigEndian.Uint64(d[8:]))
	p, err := h.aead.Open(d[headerLen:headerLen], h.nonce[:], d[headerLen:], d[:headerLen])
	return p, err == nil
}

func (h *half) setNonce(kind byte, number uint64) {
	h.nonce[0] = kind
	binary.BigEndian.PutUint64(h.nonce[4:], number)
}
