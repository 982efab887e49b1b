package flowsync

import (
	"bytes"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// talk lets a talk with b for a while, and returns all that was said, as it was
// sent: letters to a and to b.
func talk(t testing.TB, tables [2]*flow.Table) (*sim, []letter) {
	s := newSim(t, 3, tables)
	s.both(8)
	seen := s.tap()
	s.nodes[0].e.setActive(true, s.now)
	for n := range 30 {
		s.random(0, n, 8)
	}
	s.until(1000, "synced", func() bool { return s.synced(1) })
	for n := range 30 {
		s.random(0, n, 8)
		s.run(5)
	}
	s.run(300)
	s.mail = nil
	return s, *seen
}

// both starts both directors with so many backends.
func (s *sim) both(backends int) {
	for n := range backends {
		s.nodes[0].book.add(identity(n), uint32(n))
		s.nodes[1].book.add(identity(n), uint32(100+n))
	}
	s.start(0)
	s.start(1)
}

// tap records what both send from now on.
func (s *sim) tap() *[]letter {
	seen := new([]letter)
	for i, n := range s.nodes {
		send := n.e.transmit
		n.e.transmit = func(d []byte) {
			*seen = append(*seen, letter{to: 1 - i, d: bytes.Clone(d)})
			send(d)
		}
	}
	return seen
}

// unmoved checks that what do receives changes neither session nor tables, and
// that all n datagrams are counted.
func (s *sim) unmoved(what string, do func() (n [2]int)) {
	s.t.Helper()
	var count [2]int
	var sessions [2]*session
	var was [2]map[string]entry
	read := func(i int) map[string]entry {
		m := map[string]entry{}
		for k, e := range s.contents(i, -1) {
			m[k.Src().String()+"/"+k.Dst().String()+"/"+string(rune(k.Tail>>32))] = e
		}
		return m
	}
	for i, n := range s.nodes {
		count[i], sessions[i], was[i] = arrived(n.e), n.e.session, read(i)
	}
	fed := do()
	for i, n := range s.nodes {
		if got := arrived(n.e) - count[i]; got != fed[i] {
			s.t.Errorf("%s: %s counted %d of %d", what, n.name, got, fed[i])
		}
		if n.e.session != sessions[i] {
			s.t.Errorf("%s: %s has another session", what, n.name)
		}
		if !maps.Equal(was[i], read(i)) {
			s.t.Errorf("%s: the table of %s has changed", what, n.name)
		}
		s.mail = nil // what it had to say to that
	}
}

func TestHostile(t *testing.T) {
	tables := newTables(t, 200)
	s, seen := talk(t, tables)
	if len(seen) < 60 {
		t.Fatalf("only %d datagrams", len(seen))
	}
	feed := func(to int, d []byte) { s.nodes[to].e.receive(bytes.Clone(d), s.now) }

	s.unmoved("replayed", func() (n [2]int) {
		for _, l := range seen {
			feed(l.to, l.d)
			n[l.to]++
		}
		return n
	})
	if r := s.nodes[1].e.totals.refused[Replayed]; r < 30 {
		t.Errorf("%d counted as replayed", r)
	}
	s.unmoved("reflected", func() (n [2]int) {
		for _, l := range seen {
			feed(1-l.to, l.d)
			n[1-l.to]++
		}
		return n
	})
	s.unmoved("every bit of one of each kind turned", func() (n [2]int) {
		done := map[byte]bool{}
		for i := len(seen) - 1; i >= 0; i-- {
			l := seen[i]
			if done[l.d[1]] {
				continue
			}
			done[l.d[1]] = true
			for bit := range len(l.d) * 8 {
				d := bytes.Clone(l.d)
				d[bit/8] ^= 1 << (bit % 8)
				feed(l.to, d)
				n[l.to]++
			}
		}
		if len(done) != 3 {
			t.Errorf("only %d kinds", len(done))
		}
		return n
	})
	s.unmoved("truncated and lengthened", func() (n [2]int) {
		for _, l := range seen[len(seen)-20:] {
			for cut := range len(l.d) {
				feed(l.to, l.d[:cut])
				n[l.to]++
			}
			feed(l.to, append(bytes.Clone(l.d), 0))
			n[l.to]++
		}
		return n
	})
	r := rand.New(rand.NewPCG(1, 2))
	s.unmoved("random, and random under a known header", func() (n [2]int) {
		head := seen[len(seen)-1]
		for i := range 20_000 {
			d := make([]byte, r.IntN(1500))
			for j := range d {
				d[j] = byte(r.Uint32())
			}
			if i%2 == 0 {
				copy(d, head.d[:8+i%9])
			}
			feed(head.to, d)
			n[head.to]++
		}
		return n
	})
	// The next numbers of the stream, by somebody who has seen the header.
	s.unmoved("forged", func() (n [2]int) {
		for number := range uint64(3000) {
			d := make([]byte, 200)
			d[0], d[1] = version, kindData
			copy(d[2:], s.nodes[1].e.session.rx.tag[:])
			d[14], d[15] = byte(number>>8), byte(number)
			feed(1, d)
			n[1]++
		}
		return n
	})
	if r := &s.nodes[1].e.totals.refused; r[Forged] < 1000 || r[Beyond] < 1000 {
		t.Errorf("forged %d, beyond %d", r[Forged], r[Beyond])
	}
	// It all goes on as before.
	s.random(0, 77, 8)
	s.run(20)
	if d := s.differ(0); d != "" {
		t.Error(d)
	}
}

func TestReplayOfOldSessions(t *testing.T) {
	s, old := talk(t, newTables(t, 200))
	for range 3 {
		s.start(1)
		seen := s.tap()
		s.until(5000, "synced again", func() bool { return s.synced(1) })
		old = append(old, *seen...)
	}
	s.start(1)
	s.until(5000, "synced again", func() bool { return s.synced(1) })
	begun := [2]uint64{s.nodes[0].e.totals.sessions, s.nodes[1].e.totals.sessions}
	// Everything ever said, to both, again and again, and they may answer.
	for i := range 3000 {
		l := old[i%len(old)]
		s.nodes[l.to].e.receive(bytes.Clone(l.d), s.now)
		s.nodes[1-l.to].e.receive(bytes.Clone(l.d), s.now)
		s.step()
	}
	for i, n := range s.nodes {
		if n.e.totals.sessions != begun[i] {
			t.Errorf("%s began %d sessions for recordings", n.name, n.e.totals.sessions-begun[i])
		}
	}
	if !s.synced(1) {
		t.Error("no longer synchronised")
	}
	// A real restart is still heard in that noise.
	s.start(1)
	for i := 0; !s.synced(1); i++ {
		if i == 5000 {
			t.Fatal("the noise keeps a restarted director out")
		}
		for range 20 {
			l := old[(i*20)%len(old)]
			s.nodes[l.to].e.receive(bytes.Clone(l.d), s.now)
		}
		s.step()
	}
}

func TestNoise(t *testing.T) {
	s := newSim(t, 5, newTables(t, 200))
	s.both(8)
	s.nodes[0].e.setActive(true, s.now)
	r := rand.New(rand.NewPCG(9, 9))
	for ms := range 1500 {
		for range 200 {
			d := make([]byte, 80)
			for j := range d {
				d[j] = byte(r.Uint32())
			}
			d[0], d[1] = version, byte(r.IntN(4))
			s.nodes[r.IntN(2)].e.receive(d, s.now)
		}
		s.random(0, ms%100, 8)
		s.step()
	}
	if !s.synced(1) {
		t.Fatal("not synchronised within 1.5 s of noise")
	}
	s.run(20)
	if d := s.differ(0); d != "" {
		t.Error(d)
	}
}

func TestAnotherKeyOrVersion(t *testing.T) {
	s := newSim(t, 5, newTables(t, 50))
	var log strings.Builder
	s.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.both(1)
	s.cfg.Key[5] = 99
	s.start(1)
	s.run(3000)
	if a := s.nodes[0].e; a.session != nil || a.totals.refused[Forged] < 5 {
		t.Errorf("another key: session %v, %d forged", a.session, a.totals.refused[Forged])
	}
	a := s.nodes[0].e
	for range 50 {
		a.receive(append([]byte{2, kindHello}, make([]byte, helloLen-2)...), s.now)
		s.step()
	}
	if a.totals.refused[Version] != 50 || strings.Count(log.String(), "another version") != 1 {
		t.Errorf("%d counted, log: %s", a.totals.refused[Version], log.String())
	}
}

// TestEcho: a director that hears only itself has no peer.
func TestEcho(t *testing.T) {
	s := newSim(t, 6, newTables(t, 50))
	s.both(1)
	s.nodes[1].e = nil
	a := s.nodes[0].e
	var back [][]byte
	a.transmit = func(d []byte) { back = append(back, bytes.Clone(d)) }
	for range 3000 {
		s.step()
		heard := back
		back = nil
		for _, d := range heard {
			a.receive(d, s.now)
		}
	}
	if a.session != nil || a.totals.sessions != 0 || a.totals.refused[Forged] < 10 {
		t.Errorf("%d sessions with itself, %d forged", a.totals.sessions, a.totals.refused[Forged])
	}
}

// TestGreetings: copies of one greeting get few answers, and are no amplifier.
func TestGreetings(t *testing.T) {
	s, seen := talk(t, newTables(t, 50))
	s.start(1)
	var hello []byte
	for _, l := range seen {
		if l.to == 1 && l.d[1] == kindHello {
			hello = l.d
			break
		}
	}
	answers := 0
	s.nodes[1].e.transmit = func(d []byte) {
		if answers++; len(d) > len(hello) {
			t.Errorf("%d bytes for %d", len(d), len(hello))
		}
	}
	for range 10_000 {
		s.nodes[1].e.receive(bytes.Clone(hello), s.now)
	}
	if answers != 1 {
		t.Errorf("%d answers to copies of one greeting", answers)
	}
}

// TestLyingPeer: what an authentic peer can't mean is refused.
func TestLyingPeer(t *testing.T) {
	var o outbox
	o.reset()
	for range 100 {
		o.add()
	}
	none := func(*parcel) { t.Error("a parcel was confirmed") }
	if _, ok := o.confirm(102, nil, none); ok {
		t.Error("confirmed what was never sent")
	}
	if _, ok := o.confirm(1, []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, none); ok {
		t.Error("has what was never sent")
	}
	n := 0
	if end, ok := o.confirm(11, []byte{0, 0, 0, 0, 0, 0, 0, 2}, func(*parcel) { n++ }); !ok || end != 13 || n != 11 {
		t.Errorf("end %d, %v, %d parcels", end, ok, n)
	}

	s, _ := talk(t, newTables(t, 50))
	e := s.nodes[1].e
	is := e.session
	for _, c := range []struct {
		flags byte
		want  uint32
		out   bool
	}{{0, is.want - 1, false}, {passAudit, is.want, false}, {0, is.want, true}} {
		is.synced = false
		e.apply(is, appendPass(appendPass(nil, itemBegin, c.flags, c.want), itemEnd, c.flags, c.want), s.now)
		if is.synced != c.out {
			t.Errorf("a pass with flags %d for %d (wanted %d): synced %v", c.flags, c.want, is.want, is.synced)
		}
	}
	was, id := e.totals.refused[Malformed], identity(0)
	e.apply(is, appendName(nil, 9, &id), s.now)
	e.apply(is, (&record{state: flow.Established, name: 999, left: 1, srcLo: mapped}).append(nil), s.now)
	e.apply(is, (&record{state: flow.UDP, name: 9, left: 1, srcLo: mapped}).append(nil), s.now)
	e.apply(is, (&record{state: flow.Established, name: 9, left: 1, v6: true}).append(nil), s.now)
	if e.totals.refused[Malformed] != was+3 {
		t.Errorf("%d records refused", e.totals.refused[Malformed]-was)
	}
}
