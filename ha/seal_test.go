package ha

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
)

var testKey = bytes.Repeat([]byte{7}, KeySize)

type sealed struct {
	*Seal
	addr netip.Addr
}

func newSealed(t testing.TB, key []byte, a string) *sealed {
	s, err := NewSeal(key, addr(a))
	if err != nil {
		t.Fatal(err)
	}
	return &sealed{s, addr(a)}
}

func (s *sealed) packet() []byte { return s.Append(nil, &adv4, s.addr, Group4(), ChecksumPseudoHeader) }

func (s *sealed) hear(from *sealed, b []byte) Reason {
	a, node, why := s.Open(b, from.addr, Group4())
	if why != OK && (node.IsValid() || a.VRID != 0) {
		panic("a refused packet was handed on")
	}
	return why
}

func expect(t *testing.T, what string, got, want Reason) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestSealHandshake(t *testing.T) {
	a, b := newSealed(t, testKey, "10.0.0.1"), newSealed(t, testKey, "10.0.0.2")
	expect(t, "the first packet", b.hear(a, a.packet()), Unproven)
	expect(t, "it repeats a's challenge", a.hear(b, b.packet()), OK)
	expect(t, "now a repeats b's", b.hear(a, a.packet()), OK)
	one, two, three := a.packet(), a.packet(), a.packet()
	expect(t, "ahead", b.hear(a, two), OK)
	expect(t, "the earlier one", b.hear(a, one), OK)
	expect(t, "again", b.hear(a, two), Replayed)
	expect(t, "again", b.hear(a, one), Replayed)
	for range 64 {
		expect(t, "the next", b.hear(a, a.packet()), OK)
	}
	expect(t, "below the window", b.hear(a, three), Replayed)
	expect(t, "own packet", a.hear(a, a.packet()), OwnPacket)
}

// Whoever recorded everything cannot use it after a restart of either side.
func TestSealRestart(t *testing.T) {
	a, b := newSealed(t, testKey, "10.0.0.1"), newSealed(t, testKey, "10.0.0.2")
	var tape [][]byte
	record := func(p []byte) []byte { tape = append(tape, p); return p }
	b.hear(a, record(a.packet()))
	a.hear(b, b.packet())
	expect(t, "running", b.hear(a, record(a.packet())), OK)
	unheard := a.packet() // lost on its way, but on the tape
	tape = append(tape, unheard)
	old := a
	a = newSealed(t, testKey, "10.0.0.1")
	expect(t, "a restarted", b.hear(a, a.packet()), Unproven)
	a.hear(b, b.packet())
	for range 3 { // b's answer reaches a, a proves itself
		b.hear(a, a.packet())
		a.hear(b, b.packet())
	}
	expect(t, "a's new session", b.hear(a, a.packet()), OK)
	for i, p := range tape {
		if why := b.hear(old, p); why == OK {
			t.Errorf("packet %d of the old session is taken", i)
		}
	}
	expect(t, "the new session still holds", b.hear(a, a.packet()), OK)
	b = newSealed(t, testKey, "10.0.0.2")
	for i, p := range tape {
		if why := b.hear(old, p); why == OK {
			t.Errorf("packet %d convinces a restarted b", i)
		}
	}
	// The replays filled b's list of the unproven; the true one still gets in.
	b.hear(a, a.packet())
	a.hear(b, b.packet())
	b.hear(a, a.packet())
	a.hear(b, b.packet())
	expect(t, "the true a", b.hear(a, a.packet()), OK)
}

func TestSealRefuses(t *testing.T) {
	a, b := newSealed(t, testKey, "10.0.0.1"), newSealed(t, testKey, "10.0.0.2")
	b.hear(a, a.packet())
	a.hear(b, b.packet())
	b.hear(a, a.packet())
	plain := adv4.Append(nil, a.addr, Group4(), ChecksumPseudoHeader)
	expect(t, "no seal", b.hear(a, plain), Unauthenticated)
	stranger := newSealed(t, bytes.Repeat([]byte{8}, KeySize), "10.0.0.1")
	expect(t, "another key", b.hear(a, stranger.packet()), BadSeal)
	p := a.packet()
	_, _, why := b.Open(p, addr("10.0.0.3"), Group4())
	if why == OK {
		t.Error("another source address is taken")
	}
	for i := range len(p) * 8 {
		q := bytes.Clone(p)
		q[i/8] ^= 1 << (i % 8)
		finish(q, a.addr, Group4(), ChecksumPseudoHeader)
		if i/8 == 6 || i/8 == 7 {
			continue // the checksum, which is not covered
		}
		if why := b.hear(a, q); why == OK || why == Hello {
			t.Fatalf("bit %d can be turned", i)
		}
	}
	for n := range len(p) {
		q := bytes.Clone(p[:n])
		if n >= headerLen {
			finish(q, a.addr, Group4(), ChecksumPseudoHeader)
		}
		if why := b.hear(a, q); why == OK {
			t.Fatalf("%d bytes of %d are taken", n, len(p))
		}
	}
	expect(t, "the packet itself", b.hear(a, p), OK)
}

// Three directors, packets lost, doubled, delayed and reordered, restarts: a
// packet is taken at most once, and sessions come up again.
func TestSealRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
	var all [3]*sealed
	for i := range all {
		all[i] = newSealed(t, testKey, names[i])
	}
	type sent struct {
		b    []byte
		from *sealed
	}
	var air []sent
	taken := map[[2]*byte]bool{}
	var listener [3]byte
	for range 20000 {
		switch n := r.IntN(100); {
		case n == 0:
			i := r.IntN(3)
			all[i] = newSealed(t, testKey, names[i])
		case n < 40:
			s := all[r.IntN(3)]
			air = append(air, sent{s.packet(), s})
		case len(air) > 0:
			p := air[max(0, len(air)-1-r.IntN(6))]
			if n > 95 {
				p = air[r.IntN(len(air))]
			}
			i := r.IntN(3)
			why := all[i].hear(p.from, p.b)
			id := [2]*byte{&p.b[0], &listener[i]}
			if why == OK && taken[id] {
				t.Fatal("a packet was taken twice")
			}
			taken[id] = taken[id] || why == OK
		}
	}
	for range 3 {
		for i, s := range all {
			p := s.packet()
			for j, o := range all {
				if i != j {
					o.hear(s, p)
				}
			}
		}
	}
	for i, s := range all {
		for j, o := range all {
			if i != j {
				expect(t, "in the end", o.hear(s, s.packet()), OK)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	a := newSealed(f, testKey, "10.0.0.1")
	f.Add(a.packet())
	f.Fuzz(func(t *testing.T, p []byte) {
		b := newSealed(t, testKey, "10.0.0.2")
		if len(p) >= headerLen {
			finish(p, a.addr, Group4(), ChecksumPseudoHeader)
		}
		if why := b.hear(a, p); why == OK || why == Hello {
			t.Errorf("%x is taken", p)
		}
	})
}
