package flowsync

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// hands is a pair in the middle of a handover, from node 0 to node 1.
type hands struct {
	*sim
	giver, taker   *node
	taken, yielded int
}

func newHands(t *testing.T, seed uint64) *hands {
	h := &hands{sim: newSim(t, seed, newTables(t, 500))}
	h.cfg.OnTaken = func() { h.taken++ }
	h.cfg.OnYield = func() { h.yielded++ }
	h.both(8)
	h.giver, h.taker = h.nodes[0], h.nodes[1]
	h.giver.e.setActive(true, h.now)
	for n := range 50 {
		h.random(0, n, 8)
	}
	h.until(2000, "synced", func() bool { return h.synced(1) })
	return h
}

// fast is some milliseconds in which both ends attend, as during a handover.
func (h *hands) fast(ms int, done func() bool) int {
	for i := range ms {
		if done() {
			return i
		}
		h.step()
		for _, n := range h.nodes {
			if n.e != nil {
				n.e.tick(h.now)
			}
		}
	}
	return ms
}

// What the giver learns until it ends reaches the taker, who calls the clients only
// when the giver is silent; and the taker's own new connections stay.
func TestHandoverMissesNothing(t *testing.T) {
	for seed := range uint64(40) {
		h := newHands(t, 100+seed)
		h.delay = h.r.IntN(4)
		h.loss = []float64{0, 0.05, 0.2}[h.r.IntN(3)]
		name := h.r.IntN(30) // the giver hears of the taker so late
		e, g := h.taker.e, h.giver.e
		e.take(h.now)
		if e.active || h.taken != 0 {
			t.Fatal("it has the role without a word of the other")
		}
		called, left := flow.Tick(0), 0
		for i := range 500 {
			if i == name {
				g.yield(h.now)
			}
			if called == 0 && !e.unyielding(h.now) {
				called = h.now + flow.Tick(h.r.IntN(80))
				if !g.yielding && h.loss == 0 {
					t.Fatalf("seed %d: the clients are called while the giver answers", seed)
				}
			}
			if called != 0 && !h.now.Before(called) && !e.calling {
				e.call(h.now)
			}
			if g.active && g.yielding && !g.uncalled() && h.now.Before(called) {
				t.Fatalf("seed %d: the giver does not wait until the clients are called", seed)
			}
			if g.active {
				h.random(0, 200+i%60, 8)
			}
			h.fast(1, func() bool { return false })
			if g.yielding && !g.uncalled() {
				if left++; left == 50 {
					for n := 0; g.out.base < g.out.next || n == 0; n++ { // Flush
						if n > 500 {
							t.Fatalf("seed %d: no flush", seed)
						}
						h.fast(1, func() bool { return false })
					}
					g.setActive(false, h.now)
				}
			}
		}
		if called == 0 || !e.active || g.active || h.taken != 1 || h.yielded == 0 && h.loss == 0 {
			t.Fatalf("seed %d: called %v, active %v and %v, taken %d, yielded %d", seed, called, g.active, e.active, h.taken, h.yielded)
		}
		if g.totals.clashes+e.totals.clashes > 0 {
			t.Errorf("seed %d: a clash is counted", seed)
		}
		h.until(3000, "synced the other way", func() bool { return h.synced(0) })
		if d := h.differ(1); d != "" {
			t.Errorf("seed %d: %s", seed, d)
		}
		if e.totals.refused[Role] > 0 {
			t.Errorf("seed %d: %d records of the giver came too late", seed, e.totals.refused[Role])
		}
	}
}

// A closing connection that the giver tells of again does not end a new one that
// the taker's own worker has made under the same key.
func TestHandoverKeepsANewConnectionUnderAnOldKey(t *testing.T) {
	h := newHands(t, 7)
	id, other := identity(0), identity(5)
	other.VIP, other.Proto, other.Port = id.VIP, id.Proto, id.Port
	k := clientKey(id, 900)
	h.giver.book.add(other, 4001)
	h.taker.book.add(other, 5001)
	h.put(0, k, flow.FinWait, h.giver.book.ids[id], 60_000)
	h.run(20)
	h.taker.e.take(h.now)
	h.put(1, k, flow.SynRecv, h.taker.book.ids[other], 60_000)
	h.put(0, k, flow.FinWait, h.giver.book.ids[id], 60_000)
	h.run(20)
	if en, ok := h.taker.table.Lookup(&k, h.taker.table.Hash(&k)); !ok || en.Meta.Backend() != h.taker.book.ids[other] {
		t.Errorf("the new connection has gone: %v", en)
	}
	h.put(0, k, flow.SynRecv, h.giver.book.ids[id], 60_000) // a SYN that the giver has forwarded wins
	h.run(20)
	if en, ok := h.taker.table.Lookup(&k, h.taker.table.Hash(&k)); !ok || en.Meta.Backend() != h.taker.book.ids[id] {
		t.Errorf("the giver's new connection is not known: %v", en)
	}
}

// Whoever takes over from a dead director waits for no word of it for long.
func TestTakeFromTheDead(t *testing.T) {
	none := func(h *hands) bool { return !h.taker.e.unyielding(h.now) }
	for name, c := range map[string]struct {
		before      func(h *hands)
		call, taken int // at most, in ms
	}{
		"nobody":  {func(h *hands) { h.nodes[0].e = nil; h.run(1500) }, 0, 0},
		"dead":    {func(h *hands) { h.nodes[0].e = nil; h.run(300) }, 0, learnQuiet + 5},
		"dying":   {func(h *hands) { h.nodes[0].e = nil; h.run(5) }, yieldQuiet, learnQuiet + 5},
		"refused": {func(h *hands) { h.nodes[0].e = nil; h.run(5) }, 0, learnGone + 5},
		"deaf":    {func(h *hands) {}, yieldMost, learnMost + 5}, // it lives, but does not hear of the election
	} {
		h := newHands(t, 3)
		c.before(h)
		h.taker.e.take(h.now)
		h.taker.e.refused = name == "refused"
		if n := h.fast(2000, func() bool { return none(h) }); n > c.call {
			t.Errorf("%s: the clients are called after %d ms", name, n)
		} else if name == "deaf" && n < yieldMost {
			t.Errorf("%s: the clients are called after %d ms", name, n)
		}
		if n := h.fast(2000, func() bool { return h.taken == 1 }); n > c.taken || !h.taker.e.active {
			t.Errorf("%s: it learns for %d ms", name, n)
		}
	}
}

// A role that is given back while it is being taken leaves nothing behind.
func TestTakeIsCutShort(t *testing.T) {
	h := newHands(t, 5)
	h.taker.e.take(h.now)
	h.fast(10, func() bool { return false })
	h.taker.e.setActive(false, h.now)
	if h.synced(1) {
		t.Error("synchronised, although its own workers may have changed the table")
	}
	h.fast(20, func() bool { return false })
	if h.taker.e.taking || h.giver.e.session.peerTaking || h.taken != 0 {
		t.Error("it is still taking over")
	}
	for n := range 20 {
		h.random(0, n, 8)
	}
	h.run(100)
	h.until(2000, "synced again", func() bool { return h.synced(1) })
	if d := h.differ(0); d != "" {
		t.Error(d)
	}
}
