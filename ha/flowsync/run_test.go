package flowsync

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// clock is a Tick source that the machine's own clock drives.
func clock() func() flow.Tick {
	began := time.Now()
	return func() flow.Tick { return flow.Tick(time.Since(began) / time.Millisecond) }
}

// freePorts returns two addresses on loopback that nobody uses.
func freePorts(t testing.TB) (addrs [2]netip.AddrPort) {
	for i := range addrs {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			t.Skip("no UDP on loopback: ", err)
		}
		defer c.Close()
		addrs[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return addrs
}

// ledger0 counts nothing.
type ledger0 struct{}

func (ledger0) Born(flow.Meta)             {}
func (ledger0) Moved(flow.Meta, flow.Meta) {}
func (ledger0) Gone(flow.Meta)             {}

// pair is two directors on loopback.
type pair struct {
	tables [2]*flow.Table
	feed   *flow.Feed // of the first
	syncs  [2]*Sync
	books  [2]*book
	now    func() flow.Tick
}

func newPair(t testing.TB, capacity, feed int) *pair {
	p := &pair{tables: newTables(t, capacity), feed: flow.NewFeed(feed), now: clock()}
	addrs := freePorts(t)
	for i := range p.syncs {
		p.books[i] = newBook()
		for n := range 64 {
			p.books[i].add(identity(n), uint32(n+i*1000))
		}
		cfg := Config{
			Key: testKey, Local: addrs[i], Remote: addrs[1-i], Table: p.tables[i], Backends: p.books[i],
			Ledger: ledger0{}, Now: p.now, Log: quiet,
		}
		if i == 0 {
			cfg.Feeds = []*flow.Feed{p.feed}
		}
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p.syncs[i] = s
	}
	return p
}

// run starts one director and returns what ends it.
func (p *pair) run(i int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.syncs[i].Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

// await waits for a state, woken by what Changes tells and by a ticker.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// fill puts n connections into the active's table.
func (p *pair) fill(t testing.TB, n int) {
	id := identity(0)
	hi, lo := frame.Words(id.VIP)
	for i := range n {
		k := frame.Key{SrcLo: mapped | 10<<24 | uint64(i)>>8, DstHi: hi, DstLo: lo, Tail: frame.Tail(uint16(i), 80, 6, frame.KeyFlow)}
		if _, r := p.tables[0].Insert(&k, p.tables[0].Hash(&k), flow.MakeMeta(flow.Established, 0), p.now()+900_000, p.now(), ledger0{}); r != flow.Inserted {
			t.Fatalf("connection %d: result %d", i, r)
		}
	}
}

func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPair(t, 3000, 256)
	p.syncs[0].SetActive(true)
	p.fill(t, 2000)
	stop0 := p.run(0)
	if err := p.syncs[0].Flush(context.Background()); !errors.Is(err, ErrNoPeer) {
		t.Errorf("Flush without a peer: %v", err)
	}
	stop1 := p.run(1)
	await(t, "synced", p.syncs[1].Synced)
	if n := p.tables[1].Len(); n != 2000 {
		t.Errorf("the backup has %d entries", n)
	}
	select {
	case <-p.syncs[1].Changes():
	default:
		t.Error("Changes is silent")
	}
	// A change is there once Flush returns.
	id := identity(0)
	k := clientKey(id, 60_000)
	e, _ := p.tables[0].Insert(&k, p.tables[0].Hash(&k), flow.MakeMeta(flow.Established, 0), p.now()+900_000, p.now(), ledger0{})
	p.feed.Put(e.Slot)
	if err := p.syncs[0].Flush(context.Background()); err != nil {
		t.Error(err)
	}
	if e, ok := p.tables[1].Lookup(&k, p.tables[1].Hash(&k)); !ok || e.Meta.Backend() != 1000 {
		t.Errorf("after Flush: %v %v", e, ok)
	}
	// The other way, and one that leaves is missed at once.
	p.syncs[0].SetActive(false)
	p.syncs[1].SetActive(true)
	await(t, "synced the other way", p.syncs[0].Synced)
	stop0()
	await(t, "missed", func() bool { return !p.syncs[1].Status().Session })
	stop1()
}

// TestBadSocket: an address that isn't there stops nothing.
func TestBadSocket(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPair(t, 10, 4)
	p.syncs[0].cfg.Local = netip.MustParseAddrPort("192.0.2.1:9")
	for range 10 {
		p.feed.Put(1)
	}
	stop := p.run(0)
	await(t, "feeds drained", func() bool {
		var b [1]uint32
		p.syncs[0].mu.Lock()
		defer p.syncs[0].mu.Unlock()
		return p.feed.Take(b[:]) == 0
	})
	stop()
}

func TestConfig(t *testing.T) {
	good := newPair(t, 10, 4).syncs[0].cfg
	for what, spoil := range map[string]func(*Config){
		"no key":       func(c *Config) { c.Key = [32]byte{} },
		"no port":      func(c *Config) { c.Remote = netip.AddrPortFrom(c.Remote.Addr(), 0) },
		"same address": func(c *Config) { c.Remote = c.Local },
		"no table":     func(c *Config) { c.Table = nil },
		"no log":       func(c *Config) { c.Log = nil },
		"rate":         func(c *Config) { c.Rate = 1 },
		"batch":        func(c *Config) { c.Batch = time.Second },
		"silence":      func(c *Config) { c.Silence = -1 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

// TestLag makes 20 000 connections a second, each a SYN, an ACK and half of them
// a FIN, over real sockets, and logs how far the backup is behind.
func TestLag(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two seconds")
	}
	p := newPair(t, 200_000, 1<<14)
	p.syncs[0].SetActive(true)
	defer p.run(0)()
	defer p.run(1)()
	await(t, "synced", p.syncs[1].Synced)
	p.syncs[0].Status() // forget the worst so far
	id := identity(0)
	hi, lo := frame.Words(id.VIP)
	const perMs, seconds = 20, 2
	move := func(i int, st flow.State) {
		k := frame.Key{SrcLo: mapped | 10<<24 | uint64(i)>>8, DstHi: hi, DstLo: lo, Tail: frame.Tail(uint16(i), 80, 6, frame.KeyFlow)}
		h := p.tables[0].Hash(&k)
		e, ok := p.tables[0].Lookup(&k, h)
		if !ok {
			e, _ = p.tables[0].Insert(&k, h, flow.MakeMeta(st, 0), p.now()+60_000, p.now(), ledger0{})
		} else {
			p.tables[0].Update(&e, e.Meta.With(st), ledger0{})
		}
		p.feed.Put(e.Slot)
	}
	n, before := 0, p.syncs[0].Status()
	for began := time.Now(); time.Since(began) < seconds*time.Second; time.Sleep(time.Millisecond) {
		for due := int(time.Since(began)/time.Microsecond) * perMs / 1000; n < due; n++ {
			move(n, flow.SynRecv)
			if n >= 200 {
				move(n-200, flow.Established) // 10 ms later
			}
			if n >= 2000 && n%2 == 0 {
				move(n-2000, flow.FinWait)
			}
		}
	}
	if err := p.syncs[0].Flush(context.Background()); err != nil {
		t.Log(err) // a machine so busy that a second of silence came up
	}
	await(t, "all there", func() bool { return p.tables[1].Len() == n })
	st, got := p.syncs[0].Status(), p.syncs[1].Status()
	t.Logf("%d connections in %d s: lag %v at the end, at worst %v; %d records of %.1f bytes on the wire, %d datagrams, %d resent, %d lost, shed %d; %.2f MB/s",
		n, seconds, st.Lag, st.Worst, st.RecordsOut, float64(st.BytesOut-before.BytesOut)/float64(st.RecordsOut-before.RecordsOut),
		st.DatagramsOut, st.Resent, st.Lost, st.Shed, float64(st.BytesOut-before.BytesOut)/seconds/1e6)
	if p.tables[1].Len() != n || got.Refused != [NumReasons]uint64{Replayed: got.Refused[Replayed], Greeted: got.Refused[Greeted], Session: got.Refused[Session]} {
		t.Errorf("the backup has %d of %d; refused %v", p.tables[1].Len(), n, got.Refused)
	}
}

// TestNoAllocation: the sending side allocates nothing per record or datagram.
func TestNoAllocation(t *testing.T) {
	s := newSim(t, 21, newTables(t, 4000))
	s.feed = 4096
	s.both(8)
	a := s.nodes[0]
	a.e.setActive(true, s.now)
	for n := range 2000 {
		s.put(0, clientKey(identity(0), n*5), flow.Established, 0, 900_000)
	}
	s.until(2000, "synced", func() bool { return s.synced(1) })
	var slots []uint32
	a.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool { slots = append(slots, e.Slot); return true })
	a.e.transmit = func([]byte) {}
	yes := make([]byte, headerLen, 200)
	peer := s.nodes[1].e.session
	round := func() {
		s.now += 5
		for _, slot := range slots[:500] {
			a.feed.Put(slot)
		}
		a.e.tick(s.now)
		peer.said++
		d := append(yes[:headerLen], statusSynced, 0, 0, 0)
		d = binary.BigEndian.AppendUint32(d, peer.want)
		d = binary.BigEndian.AppendUint64(d, a.e.out.next)
		a.e.receive(peer.tx.seal(d, kindStatus, peer.said), s.now)
	}
	for range 3 * window { // all buffers are there once the window has gone round
		round()
	}
	told := a.e.totals.recordsOut
	if allocs := testing.AllocsPerRun(200, round); allocs != 0 {
		t.Errorf("%v allocations for 500 records", allocs)
	}
	if got := a.e.totals.recordsOut - told; got < 200*500 {
		t.Errorf("only %d records", got)
	}
}

// TestGone: a peer that ends without a word is told of by its host; one that
// leaves, or an idle backup, is not.
func TestGone(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPair(t, 3000, 256)
	var gone [2]atomic.Int32
	for i, s := range p.syncs {
		s.cfg.OnGone = func() { gone[i].Add(1) }
	}
	p.syncs[0].SetActive(true)
	stop0, stop1 := p.run(0), p.run(1)
	await(t, "synced", p.syncs[1].Synced)
	p.syncs[0].SetActive(false) // or what crosses the goodbye on its way may be refused
	await(t, "the role given away", func() bool { return !p.syncs[1].Status().PeerActive })
	stop0()
	await(t, "the session's end", func() bool { return !p.syncs[1].Status().Session })
	if n := gone[1].Load(); n != 0 {
		t.Errorf("after a goodbye: told %d times", n)
	}
	p.syncs[0].SetActive(true)
	stop0 = p.run(0)
	await(t, "synced again", func() bool { s := p.syncs[1].Status(); return s.Synced && s.PeerActive })
	p.syncs[0].mu.Lock()
	p.syncs[0].conn.Close() // Run makes a new socket a second later
	p.syncs[0].mu.Unlock()
	await(t, "the hint", func() bool { return gone[1].Load() > 0 })
	stop0()
	stop1()
	if n := gone[0].Load(); n != 0 {
		t.Errorf("the active was told %d times", n)
	}
}

// What JSON carries is named, and comes back the same.
func TestStatusAsJSON(t *testing.T) {
	st := Status{Active: true, PeerSynced: true, RecordsOut: 7, Lag: 5 * time.Millisecond}
	st.Refused[Forged], st.Refused[NoRoom] = 3, 1
	b, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"refused":{"forged":3,"no-room":1}`, `"peer_synced":true`, `"records_out":7`, `"lag":5000000`} {
		if !bytes.Contains(b, []byte(part)) {
			t.Errorf("%s is not in %s", part, b)
		}
	}
	var again Status
	if err := json.Unmarshal(b, &again); err != nil || again != st {
		t.Errorf("%v: %+v, want %+v", err, again, st)
	}
	if err := json.Unmarshal([]byte(`{"refused":{"of tomorrow":1}}`), &again); err != nil || again.Refused != (Refusals{}) {
		t.Errorf("%v: %v", err, again.Refused)
	}
}
