package ha

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net/netip"
)

// The seal follows the address list:
//
//	"SVM1" | echoes n | 3 zeros | node 16 | session 8 | sequence 8 | challenge 16 | n * echo 16 | HMAC-SHA256 32
//
// The HMAC covers the IP addresses and all of the payload before itself, with
// the checksum as 0; the checksum covers the seal as well.
const (
	sealMagic  = "SVM1"
	sealFixed  = 8 + 16 + 8 + 8 + nonceLen
	macLen     = sha256.Size
	nonceLen   = 16
	maxPeers   = 8 // proven peers that are remembered
	maxPending = 8 // challenges of senders that have yet to prove themselves
	maxEchoes  = maxPeers + maxPending
)

type nonce [nonceLen]byte

// Seal authenticates packets with the pair's key. One goroutine uses it.
//
// Replays: each packet has its own number within its sender's session (one run
// of the sender), and a window of 64 tells which were taken. What a recording of
// an earlier session could do is stopped by challenge and echo: every packet
// shows its sender's random challenge and repeats those that it heard, and a new
// session is believed only once one of its packets repeats our challenge as it
// is now. The challenge is made at our start and anew whenever a session is let
// in, so no packet of a session before that can contain it. No clock is
// compared and nothing is kept on disk.
type Seal struct {
	mac       hash.Hash
	node      [16]byte
	session   uint64
	seq       uint64
	challenge nonce
	peers     map[[16]byte]*sealPeer
	pending   []nonce // newest last
}

type sealPeer struct {
	session   uint64
	top       uint64 // the highest number taken
	window    uint64 // bit i: number top-i was taken
	challenge nonce
}

// NewSeal starts a session. node is the director's canonical address: it names
// the sender, and decides ties of priority.
func NewSeal(key []byte, node netip.Addr) (*Seal, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("ha: the key must have %d bytes, not %d", KeySize, len(key))
	}
	if !node.IsValid() {
		return nil, errors.New("ha: a seal needs the director's address")
	}
	// A key of its own for this use: flow synchronisation has the same file.
	derive := hmac.New(sha256.New, key)
	derive.Write([]byte("svm vrrp heartbeat 1"))
	s := &Seal{mac: hmac.New(sha256.New, derive.Sum(nil)), node: node.As16(), peers: make(map[[16]byte]*sealPeer)}
	var b [8]byte
	rand.Read(b[:])
	s.session = binary.BigEndian.Uint64(b[:])
	rand.Read(s.challenge[:])
	return s, nil
}

// Append is Advert.Append with a seal.
func (s *Seal) Append(b []byte, a *Advert, src, dst netip.Addr, form Checksum) []byte {
	start := len(b)
	b = a.appendBody(b)
	b = append(b, sealMagic...)
	count := len(b)
	b = append(b, 0, 0, 0, 0)
	b = append(b, s.node[:]...)
	b = binary.BigEndian.AppendUint64(b, s.session)
	s.seq++
	b = binary.BigEndian.AppendUint64(b, s.seq)
	b = append(b, s.challenge[:]...)
	for _, p := range s.peers {
		b = append(b, p.challenge[:]...)
		b[count]++
	}
	for i := range s.pending {
		b = append(b, s.pending[i][:]...)
		b[count]++
	}
	b = s.sum(b, b[start:], src, dst)
	finish(b[start:], src, dst, form)
	return b
}

// sum appends the HMAC of pdu, which must have a zero checksum.
func (s *Seal) sum(to, pdu []byte, src, dst netip.Addr) []byte {
	s.mac.Reset()
	from, dest := src.As16(), dst.As16()
	s.mac.Write(from[:])
	s.mac.Write(dest[:])
	s.mac.Write(pdu)
	return s.mac.Sum(to)
}

// Open reads a packet as Parse does and checks its seal. node is the sender's
// canonical address. After Unproven the sender should be shown our challenge and
// its own at once: send anything.
func (s *Seal) Open(b []byte, src, dst netip.Addr) (a Advert, node netip.Addr, why Reason) {
	a, rest, why := Parse(b, src, dst)
	if why != OK && why != Hello {
		return Advert{}, node, why
	}
	if len(rest) == 0 {
		return Advert{}, node, Unauthenticated
	}
	if len(rest) < sealFixed+macLen || string(rest[:4]) != sealMagic || rest[4] > maxEchoes ||
		len(rest) != sealFixed+int(rest[4])*nonceLen+macLen {
		return Advert{}, node, BadSeal
	}
	body := append([]byte(nil), b[:len(b)-macLen]...)
	body[6], body[7] = 0, 0
	if !hmac.Equal(s.sum(nil, body, src, dst), b[len(b)-macLen:]) {
		return Advert{}, node, BadSeal
	}
	id := [16]byte(rest[8:24])
	session, seq := binary.BigEndian.Uint64(rest[24:]), binary.BigEndian.Uint64(rest[32:])
	challenge := nonce(rest[40 : 40+nonceLen])
	if id == s.node {
		return Advert{}, node, OwnPacket
	}
	if r := s.admit(id, session, seq, challenge, rest[sealFixed:len(rest)-macLen]); r != OK {
		return Advert{}, node, r
	}
	return a, netip.AddrFrom16(id).Unmap(), why
}

// admit decides about a packet whose HMAC is right.
func (s *Seal) admit(id [16]byte, session, seq uint64, challenge nonce, echoes []byte) Reason {
	p := s.peers[id]
	if p != nil && p.session == session {
		if !p.take(seq) {
			return Replayed
		}
		if seq == p.top {
			p.challenge = challenge
		}
		return OK
	}
	if !s.proven(echoes) {
		s.remember(challenge)
		return Unproven
	}
	if p == nil && len(s.peers) >= maxPeers {
		return TooManyPeers
	}
	// Lower numbers may have been taken by us in an earlier run: they count as used.
	s.peers[id] = &sealPeer{session: session, top: seq, window: ^uint64(0), challenge: challenge}
	s.forget(challenge)
	rand.Read(s.challenge[:])
	return OK
}

// proven tells whether our challenge is among the echoes.
func (s *Seal) proven(echoes []byte) bool {
	for ; len(echoes) >= nonceLen; echoes = echoes[nonceLen:] {
		if nonce(echoes[:nonceLen]) == s.challenge {
			return true
		}
	}
	return false
}

func (s *Seal) remember(c nonce) {
	s.forget(c)
	if len(s.pending) == maxPending {
		s.pending = append(s.pending[:0], s.pending[1:]...)
	}
	s.pending = append(s.pending, c)
}

func (s *Seal) forget(c nonce) {
	for i := range s.pending {
		if s.pending[i] == c {
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			return
		}
	}
}

// take marks a number as used; false when it was, or is below the window.
func (p *sealPeer) take(seq uint64) bool {
	switch {
	case seq > p.top:
		if d := seq - p.top; d < 64 {
			p.window = p.window<<d | 1
		} else {
			p.window = 1
		}
		p.top = seq
	case p.top-seq >= 64:
		return false
	case p.window&(1<<(p.top-seq)) != 0:
		return false
	default:
		p.window |= 1 << (p.top - seq)
	}
	return true
}
