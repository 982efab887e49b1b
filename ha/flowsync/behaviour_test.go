package flowsync

import (
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// TestDeadlines: connections with traffic never run out on the backup, idle ones
// do at the same time as on the active, and neither costs much.
func TestDeadlines(t *testing.T) {
	s := newSim(t, 11, newTables(t, 200))
	s.cfg.Scan = 0
	s.both(8)
	a := s.nodes[0]
	a.e.setActive(true, s.now)
	const life = 10_000
	for n := range 40 {
		id := identity(n % 8)
		st := flow.Established
		if id.Proto == frame.ProtoUDP {
			st = flow.UDP
		}
		if k := clientKey(id, n); k.Kind() == frame.KeyFlow {
			s.put(0, k, st, a.book.ids[id], life)
		}
	}
	s.until(1000, "synced", func() bool { return s.synced(1) })
	all := a.table.Len()
	before := a.e.totals.recordsOut
	const rounds = 12
	for range rounds * life / 500 {
		s.run(500)
		a.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool {
			a.table.Extend(e, s.now+life) // a packet came: no feed is told of that
			return true
		})
		if n := s.nodes[1].table.Len(); n != all {
			t.Fatalf("the backup has %d of %d", n, all)
		}
		s.nodes[1].table.Range(func(k *frame.Key, e flow.Entry, d flow.Tick) bool {
			if left := s.now.Until(d); left < life/2-500 {
				t.Fatalf("%d ms are left of %d", left, life)
			}
			return true
		})
	}
	if told := int(a.e.totals.recordsOut - before); told < 2*rounds*all || told > 4*rounds*all {
		t.Errorf("%d records for %d entries in %d lifetimes: want 2 to 4 each", told, all, rounds)
	}
	before = a.e.totals.recordsOut
	s.run(life - 600)
	if s.nodes[1].table.Len() != all || a.e.totals.recordsOut > before+uint64(all) {
		t.Errorf("idle: the backup has %d of %d, told %d", s.nodes[1].table.Len(), all, a.e.totals.recordsOut-before)
	}
	s.run(1300)
	if a.table.Len() != 0 || s.nodes[1].table.Len() != 0 {
		t.Errorf("after the end: %d and %d", a.table.Len(), s.nodes[1].table.Len())
	}
}

// TestWhole: only an active that knows all may end what it doesn't have.
func TestWhole(t *testing.T) {
	for _, c := range []struct {
		settle time.Duration
		left   int
	}{{time.Hour, 5}, {50 * time.Millisecond, 0}} {
		s := newSim(t, 12, newTables(t, 100))
		s.cfg.Settle = c.settle
		s.both(8)
		for n := range 5 {
			s.put(1, clientKey(identity(0), n*5), flow.Established, s.nodes[1].book.ids[identity(0)], 60_000)
		}
		s.nodes[0].e.setActive(true, s.now)
		s.run(100)
		s.until(2000, "synced", func() bool { return s.synced(1) })
		s.nodes[0].e.stream.owed = true
		s.run(100)
		if n := s.nodes[1].table.Len(); n != c.left {
			t.Errorf("Settle %v: %d entries stay, want %d", c.settle, n, c.left)
		}
	}
}

// TestTakeover: the backup takes over, and is whole for the one that comes back.
func TestTakeover(t *testing.T) {
	s := newSim(t, 13, newTables(t, 200))
	s.cfg.Settle = time.Hour
	s.both(8)
	s.nodes[0].e.setActive(true, s.now)
	for n := range 50 {
		s.random(0, n, 8)
	}
	s.until(2000, "synced", func() bool { return s.synced(1) })
	s.nodes[0].e = nil // killed, and its table stays
	s.run(350)
	s.nodes[1].e.setActive(true, s.now)
	for n := range 50 {
		s.random(1, 20+n, 8)
	}
	s.run(3000)
	s.start(0)
	s.put(0, clientKey(identity(0), 995), flow.Established, s.nodes[0].book.ids[identity(0)], 60_000)
	if s.synced(0) {
		t.Fatal("synchronised before it has heard anything")
	}
	s.until(2000, "synced again", func() bool { return s.synced(0) })
	if d := s.differ(1); d != "" {
		t.Error(d)
	}
	// Preempted: both change at once.
	s.nodes[1].e.setActive(false, s.now)
	s.nodes[0].e.setActive(true, s.now)
	s.random(0, 77, 8)
	s.until(2000, "the other way", func() bool { return s.synced(1) })
	if d := s.differ(0); d != "" {
		t.Error(d)
	}
}

// TestTwoActives: nothing is written, all is counted, and it heals.
func TestTwoActives(t *testing.T) {
	s := newSim(t, 14, newTables(t, 200))
	s.both(8)
	s.nodes[0].e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	s.cut[1] = true // a doesn't hear of it
	s.nodes[1].e.setActive(true, s.now)
	for n := range 40 {
		s.random(0, n, 8)
		s.run(5)
	}
	if n := s.nodes[1].table.Len(); n != 0 || s.nodes[1].e.totals.refused[Role] < 30 {
		t.Errorf("%d entries written, %d counted", n, s.nodes[1].e.totals.refused[Role])
	}
	s.cut[1] = false
	s.run(300)
	for i, n := range s.nodes {
		if n.e.totals.clashes == 0 {
			t.Errorf("%s did not see the other", n.name)
		}
		s.random(i, 60+i, 8)
	}
	s.nodes[1].e.setActive(false, s.now)
	s.until(2000, "healed", func() bool { return s.synced(1) })
	if d := s.differ(0); d != "" {
		t.Error(d)
	}
}

// TestReload: a backend that the backup learns of later gets its connections then,
// and one that is renumbered on either side keeps them.
func TestReload(t *testing.T) {
	s := newSim(t, 15, newTables(t, 200))
	s.both(4)
	late := identity(8)
	s.nodes[0].book.add(late, 50)
	a, b := s.nodes[0], s.nodes[1]
	a.e.setActive(true, s.now)
	for n := range 10 {
		s.put(0, clientKey(late, n*5), flow.Established, 50, 60_000)
		s.put(0, clientKey(identity(0), n*5), flow.Established, 0, 60_000)
	}
	s.until(2000, "synced", func() bool { return s.synced(1) })
	if st := b.e.describe(); b.table.Len() != 10 || st.Refused[Unknown] != 10 || st.UnknownBackends != 1 {
		t.Fatalf("%d entries; %+v", b.table.Len(), st)
	}
	b.book.add(late, 70)
	s.until(1500, "learned", func() bool { return b.table.Len() == 20 })
	b.book.remove(identity(0))
	b.book.add(identity(0), 4711)
	s.until(2000, "renumbered", func() bool { return b.ledger.n[4711] == 10 && s.synced(1) })
	if d := s.differ(0); d != "" {
		t.Error(d)
	}
	// The active uses a number for somebody else.
	a.book.remove(late)
	a.book.add(identity(2), 50)
	passes := a.e.totals.passes
	s.until(2000, "another meaning", func() bool { return a.e.totals.passes > passes && s.synced(1) })
}

// TestFlood: of too many half-open connections some wait, confirmed ones do not,
// and in the end all are there.
func TestFlood(t *testing.T) {
	s := newSim(t, 16, newTables(t, 20_000))
	s.cfg.Rate = 1 << 20
	s.feed = 1 << 15
	s.both(8)
	s.nodes[0].e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	id := identity(0)
	confirmed := clientKey(id, 40_000)
	for n := range 15_000 {
		s.put(0, clientKey(id, n), flow.SynRecv+flow.State(n%5/4*6), 0, 60_000)
		if n == 14_000 {
			s.put(0, confirmed, flow.Established, 0, 60_000)
		}
		if n%500 == 0 {
			s.step()
		}
	}
	s.run(50)
	b := s.nodes[1].table
	if _, ok := b.Lookup(&confirmed, b.Hash(&confirmed)); !ok {
		t.Error("the confirmed connection waits for the flood")
	}
	if s.nodes[0].e.totals.shed == 0 {
		t.Error("nothing was put off")
	}
	s.until(4000, "all told", func() bool { return b.Len() == s.nodes[0].table.Len() })
	if out := s.nodes[0].e.totals.bytesOut; out > 1<<20*3 {
		t.Errorf("%d bytes sent", out)
	}
}

// TestOldKeys: a session ends before its numbers do, and the next begins at once.
func TestOldKeys(t *testing.T) {
	s := newSim(t, 17, newTables(t, 50))
	s.both(4)
	s.nodes[0].e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	s.nodes[0].e.session.said = lastNumber - 1
	s.random(0, 1, 4)
	s.until(2000, "another session", func() bool { return s.nodes[1].e.totals.sessions == 2 && s.synced(1) })
	if d := s.differ(0); d != "" {
		t.Error(d)
	}
}

// TestLongRun: ticks go round more than once while a session lives or is missed.
func TestLongRun(t *testing.T) {
	s := newSim(t, 18, newTables(t, 50))
	s.both(4)
	s.nodes[0].e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	// Thirty days in which nothing was heard, then nothing for another thirty.
	for range 2 {
		s.now += 30 * 24 * 3600 * 1000
		s.random(0, 3, 4)
		s.until(20, "the old session ends", func() bool { return !s.synced(1) })
		s.until(3000, "synced again", func() bool { return s.synced(1) })
		if d := s.differ(0); d != "" {
			t.Error(d)
		}
	}
}

// TestLateName: a connection whose backend the active can't name yet is told when
// it can, and nothing else is told again for that.
func TestLateName(t *testing.T) {
	s := newSim(t, 19, newTables(t, 50))
	s.both(4)
	a := s.nodes[0]
	a.e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	passes := a.e.totals.passes
	k := clientKey(identity(0), 5)
	s.put(0, k, flow.Established, 60, 60_000)
	e, _ := a.table.Lookup(&k, a.table.Hash(&k))
	a.e.stream.told[e.Slot] = a.table.Deadline(e) // of what was there before
	s.run(1000)
	if n := s.nodes[1].table.Len(); n != 0 || a.e.totals.nameless == 0 {
		t.Fatalf("%d entries, nameless %d", n, a.e.totals.nameless)
	}
	s.nodes[1].book.add(identity(8), 61)
	a.book.remove(identity(0))
	a.book.add(identity(0), 60)
	s.until(2000, "told", func() bool { return s.nodes[1].table.Len() == 1 })
	if a.e.totals.passes != passes {
		t.Error("all was told again")
	}
}

// TestTwiceInOneTick: a change that comes between two looks at an entry counts.
func TestTwiceInOneTick(t *testing.T) {
	s := newSim(t, 20, newTables(t, 3000))
	s.feed = 4096
	s.both(4)
	a, id := s.nodes[0], identity(0)
	a.e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	s.run(5)
	one := clientKey(id, 5)
	s.put(0, one, flow.SynRecv, 0, 60_000)
	first, _ := a.table.Lookup(&one, a.table.Hash(&one))
	for n := range 1200 { // more than are taken at a time
		k := clientKey(id, 10+n*5)
		e, _ := a.table.Insert(&k, a.table.Hash(&k), flow.MakeMeta(flow.SynRecv, 0), s.now+60_000, s.now, a.ledger)
		if e.Slot%takeMost != first.Slot%takeMost { // or it would be forgotten
			a.feed.Put(e.Slot)
		}
	}
	send, sent := a.e.transmit, 0
	a.e.transmit = func(d []byte) {
		if sent++; sent == 1 {
			s.put(0, one, flow.Established, 0, 60_000)
		}
		send(d)
	}
	s.run(100)
	e, ok := s.nodes[1].table.Lookup(&one, s.nodes[1].table.Hash(&one))
	if !ok || e.Meta.State() != flow.Established || sent < 5 {
		t.Errorf("%v, %v after %d datagrams", e.Meta.State(), ok, sent)
	}
}

// TestGap: one lost datagram delays what comes after it by little more than a tick.
func TestGap(t *testing.T) {
	s := newSim(t, 22, newTables(t, 1000))
	s.feed = 1024
	s.both(4)
	s.nodes[0].e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	s.until(5, "a tick", func() bool { return s.now%5 == 0 })
	for n := range 300 {
		s.put(0, clientKey(identity(0), n*5), flow.SynRecv, 0, 60_000)
	}
	send, sent := s.nodes[0].e.transmit, 0
	s.nodes[0].e.transmit = func(d []byte) {
		if sent++; sent != 1 {
			send(d)
		}
	}
	s.run(5 + 3*gapWait)
	if d := s.differ(0); d != "" || sent < 4 {
		t.Errorf("%s, %d datagrams", d, sent)
	}
}

// TestForwardingBackup: between taking the role and SetActive a director's workers
// make connections that the old active does not know. No pass ends those.
func TestForwardingBackup(t *testing.T) {
	s := newSim(t, 23, newTables(t, 100))
	s.both(4)
	s.nodes[0].e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	for _, wait := range []int{0, 5, 30} { // before, at and after a tick
		e := s.nodes[1].e
		e.apply(e.session, appendPass(nil, itemBegin, passWhole, e.session.want), s.now)
		s.run(wait)
		k := clientKey(identity(0), 5+wait*5)
		s.put(1, k, flow.Established, s.nodes[1].book.ids[identity(0)], 60_000)
		s.run(wait)
		if !e.mirror.marking {
			t.Fatal("the pass is over already")
		}
		e.apply(e.session, appendPass(nil, itemEnd, passWhole, e.session.want), s.now)
		if _, ok := s.nodes[1].table.Lookup(&k, s.nodes[1].table.Hash(&k)); !ok {
			t.Errorf("%d ms into a pass: a connection of our own was ended", wait)
		}
		s.until(2000, "another pass", func() bool { return s.synced(1) })
	}
}
