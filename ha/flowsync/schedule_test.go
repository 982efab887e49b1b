package flowsync

import (
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

func TestTransfer(t *testing.T) {
	s := newSim(t, 7, newTables(t, 1000))
	for n := range 16 {
		s.nodes[0].book.add(identity(n), uint32(n)|3<<20)
		s.nodes[1].book.add(identity(n), uint32(99-n))
	}
	s.start(0)
	s.start(1)
	s.nodes[0].e.setActive(true, s.now)
	for n := range 400 {
		s.random(0, n, 16)
	}
	s.until(1000, "synced", func() bool { return s.synced(1) })
	if d := s.differ(0); d != "" {
		t.Fatal("after the first pass: ", d)
	}
	for n := range 200 {
		s.random(0, 300+n, 16)
	}
	s.run(20)
	if d := s.differ(0); d != "" {
		t.Fatal("20 ms after changes: ", d)
	}
	if !s.nodes[0].e.session.peerSynced || s.synced(0) {
		t.Error("the active doesn't know that its backup is synchronised")
	}
}

// random makes connection n of a director begin or move, with one of so many backends.
func (s *sim) random(i, n, backends int) {
	id := identity((n*7 + s.r.IntN(2)*4) % backends)
	ref, ok := s.nodes[i].book.ids[id]
	if !ok {
		return
	}
	k := clientKey(id, n)
	st := flow.Established + flow.State(s.r.IntN(5))
	switch {
	case k.Kind() == frame.KeyTemplate:
		st = flow.TemplateNew + flow.State(s.r.IntN(2))
	case id.Proto == frame.ProtoUDP:
		st = flow.UDPNew + flow.State(s.r.IntN(2))
	}
	life := 60_000
	if s.r.IntN(10) == 0 && !s.long {
		life = 100 + s.r.IntN(2000)
	}
	s.put(i, k, st, ref, life)
}

func TestSchedules(t *testing.T) {
	count := 10_000
	if testing.Short() {
		count = 300
	}
	narrow, wide := newTables(t, 60), newTables(t, 600)
	var sum coverage
	for seed := range count {
		// Every other schedule has nothing that only an audit could mend.
		tables, strict := narrow, seed%2 == 0
		if strict {
			tables = wide
		}
		if !schedule(t, uint64(seed), tables, strict, &sum) {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%+v", sum)
	if sum.Entries < count || sum.RecordsIn < 10*count || sum.Resent < count || sum.Lost < count ||
		sum.Role < count/10 || sum.Unknown < count/10 || sum.Replayed < count || sum.Passes < count {
		t.Errorf("the schedules show too little of what can happen: %+v", sum)
	}
}

func schedule(t *testing.T, seed uint64, tables [2]*flow.Table, strict bool, sum *coverage) bool {
	s := newSim(t, seed, tables)
	s.feed = 4 << s.r.IntN(6)
	s.loss = s.r.Float64() * s.r.Float64() * 0.6
	s.twice = s.r.Float64() * 0.3
	s.late = s.r.Float64() * 0.2
	s.delay = s.r.IntN(20)
	s.long = strict
	const backends = 12
	for n := range backends {
		for i := range s.nodes {
			if s.r.IntN(8) > 0 {
				s.nodes[i].book.add(identity(n), s.r.Uint32())
			}
		}
	}
	s.start(s.r.IntN(2))
	active := s.r.IntN(2)
	role := func(i int) {
		if e := s.nodes[i].e; e != nil {
			e.setActive(i == active, s.now)
			e.whole = i == active // in less than Settle
		}
	}
	role(active)
	for range 12 {
		for range s.r.IntN(20) {
			if s.nodes[active].e != nil {
				s.random(active, s.r.IntN(50), backends)
			}
			if s.r.IntN(3) == 0 {
				s.step()
			}
		}
		i := s.r.IntN(2)
		switch s.r.IntN(12) {
		case 0: // restart, with or without what it knew
			if s.r.IntN(2) == 0 {
				s.nodes[i].table.Reset()
			}
			s.start(i)
			role(i)
		case 1: // swap, both at once
			active = 1 - active
			role(0)
			role(1)
		case 2: // swap with two actives, or none, for a while
			first := s.r.IntN(2)
			active = 1 - active
			role(first)
			s.run(s.r.IntN(200))
			role(1 - first)
		case 3: // reload: a backend comes, goes or is renumbered
			if strict && i == active {
				break // what the active has of a backend that is gone stays on the backup
			}
			id := identity(s.r.IntN(backends))
			b := s.nodes[i].book
			if _, ok := b.ids[id]; ok {
				if strict && s.nodes[i].e != nil {
					s.drop(i, id)
				}
				b.remove(id)
			}
			if s.r.IntN(3) > 0 {
				b.add(id, s.r.Uint32())
			}
		case 4: // one way fails
			s.cut[i] = true
			s.run(s.r.IntN(1500))
			s.cut[i] = false
		case 5: // an entry ends before its time
			n := s.nodes[active]
			if strict {
				break
			}
			n.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool {
				if n.ledger != nil {
					n.table.Remove(e, n.ledger)
				}
				return false
			})
		case 6: // the machine stands still
			s.now += flow.Tick(s.r.IntN(2000))
		case 7: // one changes its mind
			if e := s.nodes[i].e; e != nil {
				e.setActive(i != active, s.now)
				for range s.r.IntN(30) {
					if s.nodes[active].e != nil {
						s.random(active, s.r.IntN(50), backends)
					}
					s.step()
				}
				role(i)
			}
		}
		s.run(s.r.IntN(60))
	}
	for i := range s.nodes {
		if s.nodes[i].e == nil {
			s.start(i)
		}
		role(i)
	}
	s.loss, s.twice, s.late = 0, 0, 0
	if !strict {
		s.nodes[active].e.cfg.Audit = 200 * time.Millisecond
	}
	d := ""
	for range 400 {
		s.run(20)
		if d = s.differ2(active); d == "" && s.synced(1-active) {
			s.gather(sum, active)
			return true
		}
	}
	t.Logf("active %s: %s; synced %v; %+v; %+v", s.nodes[active].name, d, s.synced(1-active),
		s.nodes[active].e.describe(), s.nodes[1-active].e.describe())
	return false
}

// differ2 is differ for configurations that differ: entries of backends that one
// side doesn't know are left out on both.
func (s *sim) differ2(active int) string {
	for ref, id := range s.nodes[active].book.refs {
		if _, ok := s.nodes[1-active].book.ids[id]; !ok {
			_ = ref
			s.drop(active, id)
		}
	}
	return s.differ(active)
}

// drop ends all connections of a backend.
func (s *sim) drop(i int, id Identity) {
	n := s.nodes[i]
	n.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool {
		if n.book.refs[e.Meta.Backend()] == id {
			n.table.Remove(e, n.ledger)
		}
		return true
	})
}

// coverage adds up what the last runs of all schedules went through, so that a
// simulation in which nothing happens does not pass for one in which all goes well.
type coverage struct {
	Entries, RecordsIn, Resent, Lost, Passes, Removed       int
	Role, Unknown, NoRoom, Replayed, Beyond, Session, Fatal int
}

func (s *sim) gather(c *coverage, active int) {
	c.Entries += len(s.contents(active, 0))
	for _, n := range s.nodes {
		t := &n.e.totals
		c.RecordsIn += int(t.recordsIn)
		c.Resent += int(t.resent)
		c.Lost += int(t.lost)
		c.Passes += int(t.passes)
		c.Removed += int(t.removed)
		c.Role += int(t.refused[Role])
		c.Unknown += int(t.refused[Unknown])
		c.NoRoom += int(t.refused[NoRoom])
		c.Replayed += int(t.refused[Replayed])
		c.Beyond += int(t.refused[Beyond])
		c.Session += int(t.refused[Session])
		c.Fatal += int(t.refused[Malformed] + t.refused[Forged] + t.refused[Size] + t.refused[Kind])
	}
}
