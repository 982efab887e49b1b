package flowsync

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/netip"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// A session needs a nonce of each side. A greeting tells the sender's and echoes
// the receiver's, as far as it is known:
//
//	version, kind (1 byte each), flags (1), 5 zeros, nonce (16), echo (16),
//	HMAC-SHA256 over all that and both addresses (32)
//
// A greeting that echoes the nonce which we hold ready can't be a replay, so it
// alone begins a session, and that nonce is used up. All others change nothing:
// they are answered at most, so recordings of old greetings disturb no session.
const (
	helloLen   = 8 + 16 + 16 + sha256.Size
	helloReady = 1 // the sender has the session already

	greetedKept = 64  // greetings remembered, so that copies are not answered again
	greetedFor  = 100 // ms
	greetMost   = 32  // answers in that time
)

// greeter makes and judges greetings.
type greeter struct {
	mac     hash.Hash
	sum     [sha256.Size]byte
	us      []byte // addresses as they go into the MAC
	them    []byte
	ready   nonce // ours for the next session
	buf     [helloLen]byte
	greeted [greetedKept]greeted
	at      int
	since   flow.Tick // of the present count of answers
	answers int
}

type greeted struct {
	nonce, echo nonce
	flags       byte
	when        flow.Tick
	used        bool
}

func newGreeter(key *[32]byte, local, remote netip.AddrPort) (*greeter, error) {
	k, err := hkdf.Key(sha256.New, key[:], nil, "svm flowsync 1 hello", 32)
	if err != nil {
		return nil, err
	}
	g := &greeter{mac: hmac.New(sha256.New, k), us: addrBytes(local), them: addrBytes(remote)}
	g.renew()
	return g, nil
}

func (g *greeter) renew() { _, _ = rand.Read(g.ready[:]) } // never fails

func addrBytes(a netip.AddrPort) []byte {
	b := a.Addr().As16()
	return binary.BigEndian.AppendUint16(b[:], a.Port())
}

// write makes a greeting, valid until the next.
func (g *greeter) write(own, echo nonce, flags byte) []byte {
	b := g.buf[:8]
	clear(b)
	b[0], b[1], b[2] = version, kindHello, flags
	b = append(append(b, own[:]...), echo[:]...)
	return g.sign(b, b, g.us, g.them)
}

// sign appends the MAC of a greeting to dst.
func (g *greeter) sign(dst, b, from, to []byte) []byte {
	g.mac.Reset()
	g.mac.Write(b)
	g.mac.Write(from)
	g.mac.Write(to)
	return g.mac.Sum(dst)
}

// read authenticates a greeting.
func (g *greeter) read(d []byte) (from, echo nonce, flags byte, r Reason) {
	if len(d) != helloLen {
		return from, echo, 0, Size
	}
	body := d[:helloLen-sha256.Size]
	if !hmac.Equal(g.sign(g.sum[:0], body, g.them, g.us), d[len(body):]) {
		return from, echo, 0, Forged
	}
	return nonce(d[8:24]), nonce(d[24:40]), d[2], Accepted
}

// spare tells whether a greeting should be answered: copies of one that was
// answered just now are not, so that a flood of them leaves room for new ones.
func (g *greeter) spare(from, echo nonce, flags byte, now flow.Tick) bool {
	for i := range g.greeted {
		x := &g.greeted[i]
		if x.used && x.nonce == from && x.echo == echo && x.flags == flags && age(x.when, now) < greetedFor {
			return false
		}
	}
	if age(g.since, now) >= greetedFor {
		g.since, g.answers = now, 0
	}
	if g.answers++; g.answers > greetMost {
		return false
	}
	g.greeted[g.at] = greeted{nonce: from, echo: echo, flags: flags, when: now, used: true}
	g.at = (g.at + 1) % greetedKept
	return true
}

// greet is told of a greeting that arrived.
func (e *engine) greet(d []byte, now flow.Tick) Reason {
	g := e.greeter
	from, echo, flags, r := g.read(d)
	if r != Accepted {
		return r
	}
	e.totals.greetings++
	s := e.session
	switch {
	case echo == g.ready:
		if err := e.begin(from, now); err != nil {
			e.cfg.Log.Error("flowsync: no session: " + err.Error())
			return Forged
		}
		e.transmit(g.write(e.session.local, from, helloReady))
		return Accepted
	case s != nil && from == s.remote:
		if echo == s.local && flags&helloReady != 0 {
			return Accepted
		}
		if !g.spare(from, echo, flags, now) {
			return Greeted
		}
		e.transmit(g.write(s.local, from, helloReady))
		return Accepted
	case s != nil && echo != nonce{}:
		// An answer to something older: whoever restarted says so with no echo.
		return Greeted
	}
	if !g.spare(from, echo, flags, now) {
		return Greeted
	}
	e.transmit(g.write(g.ready, from, 0))
	return Accepted
}
