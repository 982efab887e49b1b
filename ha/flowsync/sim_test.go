package flowsync

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sort"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

var testKey = [32]byte{1, 2, 3}

// nobody is a ledger that counts what lives.
type nobody struct{ n map[uint32]int }

func (l *nobody) Born(m flow.Meta) { l.n[m.Backend()]++ }
func (l *nobody) Moved(from, to flow.Meta) {
	l.n[from.Backend()]--
	l.n[to.Backend()]++
}
func (l *nobody) Gone(m flow.Meta) { l.n[m.Backend()]-- }

// book is one director's configuration: its references are nothing like the other's.
type book struct {
	refs map[uint32]Identity
	ids  map[Identity]uint32
}

func newBook() *book { return &book{map[uint32]Identity{}, map[Identity]uint32{}} }

func (b *book) Identity(ref uint32) (Identity, bool) { id, ok := b.refs[ref]; return id, ok }
func (b *book) Ref(id Identity) (uint32, bool)       { ref, ok := b.ids[id]; return ref, ok }

func (b *book) add(id Identity, ref uint32) {
	b.refs[ref], b.ids[id] = id, ref
}

func (b *book) remove(id Identity) {
	delete(b.refs, b.ids[id])
	delete(b.ids, id)
}

// identity invents the n-th backend: TCP and UDP, IPv4 and IPv6 in turn.
func identity(n int) Identity {
	id := Identity{Proto: frame.ProtoTCP, Port: uint16(80 + n/4)}
	if n&1 != 0 {
		id.Proto = frame.ProtoUDP
	}
	id.VIP = netip.AddrFrom4([4]byte{192, 168, 1, byte(100 + n%7)})
	id.Server = netip.AddrFrom4([4]byte{192, 168, 2, byte(n)})
	if n&2 != 0 {
		id.VIP = netip.AddrFrom16([16]byte{0xfd, 0, 14: 1, 15: byte(n % 7)})
		id.Server = netip.AddrFrom16([16]byte{0xfd, 0, 14: 2, 15: byte(n)})
	}
	return id
}

// clientKey invents the n-th connection to a backend.
func clientKey(id Identity, n int) frame.Key {
	src := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	if id.VIP.Is6() {
		src = netip.AddrFrom16([16]byte{0xfd, 1, 14: byte(n >> 8), 15: byte(n)})
	}
	k := frame.MakeKey(netip.AddrPortFrom(src, uint16(1024+n)), netip.AddrPortFrom(id.VIP, id.Port), id.Proto)
	if n%5 == 4 {
		return k.Template(^uint64(0), ^uint64(0), id.Proto, id.Port)
	}
	return k
}

// node is one director of a simulation.
type node struct {
	name   string
	addr   netip.AddrPort
	book   *book
	table  *flow.Table
	ledger *nobody
	feed   *flow.Feed
	e      *engine
}

// sim is two directors and a network, all on one clock.
type sim struct {
	t     testing.TB
	r     *rand.Rand
	now   flow.Tick
	nodes [2]*node
	mail  []letter
	order int
	cfg   Config // what both have alike
	feed  int
	long  bool // only long lives

	loss, twice, late float64
	delay             int
	cut               [2]bool // by sender
}

type letter struct {
	to, order int
	at        flow.Tick
	d         []byte
}

func newSim(t testing.TB, seed uint64, tables [2]*flow.Table) *sim {
	s := &sim{t: t, r: rand.New(rand.NewPCG(seed, 1)), feed: 256}
	s.now = flow.Tick(s.r.Uint32())
	if s.r.IntN(4) == 0 {
		s.now = flow.Tick(0) - flow.Tick(s.r.IntN(3000))
	}
	s.cfg = Config{Key: testKey, Log: quiet, Settle: time.Millisecond, Scan: 500 * time.Millisecond, Audit: time.Hour}
	for i, name := range []string{"a", "b"} {
		s.nodes[i] = &node{
			name: name, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 2, byte(2 + i)}), 5680),
			book: newBook(), table: tables[i],
		}
		tables[i].Reset()
	}
	return s
}

func newTables(t testing.TB, capacity int) (tables [2]*flow.Table) {
	for i := range tables {
		table, _, err := flow.New(flow.Config{Capacity: capacity, HalfOpen: 100})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { table.Close(true) })
		tables[i] = table
	}
	return tables
}

// start begins a new run of a director, on the table that it has.
func (s *sim) start(i int) {
	n := s.nodes[i]
	n.ledger = &nobody{map[uint32]int{}}
	n.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool { n.ledger.Born(e.Meta); return true })
	n.feed = flow.NewFeed(s.feed)
	cfg := s.cfg
	cfg.Local, cfg.Remote = n.addr, s.nodes[1-i].addr
	cfg.Table, cfg.Feeds, cfg.Backends, cfg.Ledger = n.table, []*flow.Feed{n.feed}, n.book, n.ledger
	cfg.Now = func() flow.Tick { return s.now }
	e, err := newEngine(cfg, func(d []byte) { s.post(1-i, d) })
	if err != nil {
		s.t.Fatal(err)
	}
	n.e = e
}

// post carries a datagram, or doesn't.
func (s *sim) post(to int, d []byte) {
	if len(d) > maxDatagram {
		s.t.Fatalf("a datagram of %d bytes", len(d))
	}
	if s.cut[1-to] || s.r.Float64() < s.loss {
		return
	}
	copies := 1
	if s.r.Float64() < s.twice {
		copies = 2
	}
	for range copies {
		at := s.now
		if s.delay > 0 {
			at += flow.Tick(s.r.IntN(s.delay + 1))
		}
		if s.r.Float64() < s.late {
			at += flow.Tick(s.r.IntN(300))
		}
		s.order++
		s.mail = append(s.mail, letter{to: to, order: s.order, at: at, d: append([]byte(nil), d...)})
	}
}

// step is one millisecond.
func (s *sim) step() {
	s.now++
	for round := 0; round < 8 && len(s.mail) > 0; round++ {
		due, rest := []letter(nil), s.mail[:0]
		for _, l := range s.mail {
			if s.now.Before(l.at) {
				rest = append(rest, l)
			} else {
				due = append(due, l)
			}
		}
		s.mail = rest
		if len(due) == 0 {
			break
		}
		sort.Slice(due, func(i, j int) bool {
			if due[i].at != due[j].at {
				return due[i].at.Before(due[j].at)
			}
			return due[i].order < due[j].order
		})
		for _, l := range due {
			if e := s.nodes[l.to].e; e != nil {
				e.receive(l.d, s.now)
			}
		}
	}
	if s.now%5 == 0 {
		for _, n := range s.nodes {
			if n.e != nil {
				n.e.tick(s.now)
			}
		}
	}
	if s.now%50 == 0 {
		for _, n := range s.nodes {
			n.table.Sweep(0, n.table.Buckets(), s.now, n.ledger)
		}
	}
}

func (s *sim) run(ms int) {
	for range ms {
		s.step()
	}
}

// until runs until cond holds, at most ms milliseconds.
func (s *sim) until(ms int, what string, cond func() bool) {
	s.t.Helper()
	for range ms {
		if cond() {
			return
		}
		s.step()
	}
	s.t.Fatalf("%s: not within %d ms", what, ms)
}

func (s *sim) synced(i int) bool {
	n := s.nodes[i]
	return n.e != nil && n.e.session != nil && n.e.session.synced
}

// put makes, moves or replaces a connection as a worker would.
func (s *sim) put(i int, k frame.Key, st flow.State, ref uint32, life int) {
	n := s.nodes[i]
	h := n.table.Hash(&k)
	deadline := s.now + flow.Tick(life)
	e, ok := n.table.Lookup(&k, h)
	if ok && e.Meta.Backend() != ref {
		n.table.Remove(e, n.ledger)
		ok = false
	}
	if !ok {
		var r flow.Result
		if e, r = n.table.Insert(&k, h, flow.MakeMeta(st, ref), deadline, s.now, n.ledger); r != flow.Inserted {
			return
		}
	} else if !n.table.Update(&e, e.Meta.With(st), n.ledger) {
		s.t.Fatal("update")
	}
	n.table.Extend(e, deadline)
	n.feed.Put(e.Slot)
}

// entry is what both tables must agree on.
type entry struct {
	state flow.State
	id    Identity
}

// contents returns what a director knows, without what ends within slack ms.
func (s *sim) contents(i int, slack int32) map[frame.Key]entry {
	n := s.nodes[i]
	m := map[frame.Key]entry{}
	n.table.Range(func(k *frame.Key, e flow.Entry, d flow.Tick) bool {
		if id, ok := n.book.refs[e.Meta.Backend()]; ok && s.now.Until(d) > slack && carried(e.Meta.State()) {
			m[*k] = entry{e.Meta.State(), id}
		}
		return true
	})
	return m
}

// differ says what the directors disagree about, "" for nothing.
func (s *sim) differ(active int) string {
	a, b := s.contents(active, 100), s.contents(1-active, 0)
	for k, x := range a {
		if y, ok := b[k]; !ok {
			return fmt.Sprintf("%v %v is missing of %d", k, x, len(a))
		} else if x != y {
			return fmt.Sprintf("%v is %v, want %v", k, y, x)
		}
	}
	a = s.contents(active, -1)
	b = s.contents(1-active, 3000)
	for k, y := range b {
		if _, ok := a[k]; !ok {
			return fmt.Sprintf("%v %v should have ended", k, y)
		}
	}
	n := s.nodes[1-active]
	count := map[uint32]int{}
	n.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool { count[e.Meta.Backend()]++; return true })
	for ref, c := range n.ledger.n {
		if count[ref] != c {
			return fmt.Sprintf("the ledger has %d for %d, the table %d", c, ref, count[ref])
		}
	}
	return ""
}
