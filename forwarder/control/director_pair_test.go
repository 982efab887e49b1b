package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/ha/flowsync"
)

const pairFarm = `
cluster: shop
networks:
  client: {cidr: 192.168.1.0/24}
  server: {cidr: 192.168.2.0/24}
station: {address: 192.168.2.5}
directors:
  - {name: eds1, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
realservers: [{name: eps1, address: 192.168.2.11}, {name: eps2, address: 192.168.2.12}, {name: eps3, address: 192.168.2.13}]
services:
  - {name: web, vip: 192.168.1.100, ports: 80, scheduler: rr, servers: [{name: eps1}, {name: eps2}, {name: eps3}]}
  - {name: least, vip: 192.168.1.100, ports: 81, scheduler: lc, servers: [{name: eps1}, {name: eps2}, {name: eps3}]}
  - {name: weighed, vip: 192.168.1.100, ports: 82, scheduler: wlc, servers: [{name: eps1}, {name: eps2, weight: 2}, {name: eps3}]}
  - {name: sticky, vip: 192.168.1.100, ports: 83, scheduler: rr, persistence: {timeout: 300s}, servers: [{name: eps1}, {name: eps2}, {name: eps3}]}
  - {name: dns, vip: 192.168.1.100, protocol: udp, ports: 53, scheduler: rr, servers: [{name: eps1}, {name: eps2}, {name: eps3}]}
`

// The same in another order and with another service before: other references.
const otherPairFarm = `
cluster: shop
networks:
  client: {cidr: 192.168.1.0/24}
  server: {cidr: 192.168.2.0/24}
station: {address: 192.168.2.5}
directors:
  - {name: eds1, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
realservers: [{name: eps1, address: 192.168.2.11}, {name: eps2, address: 192.168.2.12}, {name: eps3, address: 192.168.2.13}]
services:
  - {name: new, vip: 192.168.1.100, ports: 99, scheduler: rr, servers: [{name: eps3}]}
  - {name: dns, vip: 192.168.1.100, protocol: udp, ports: 53, scheduler: rr, servers: [{name: eps3}, {name: eps2}, {name: eps1}]}
  - {name: sticky, vip: 192.168.1.100, ports: 83, scheduler: rr, persistence: {timeout: 300s}, servers: [{name: eps2}, {name: eps1}, {name: eps3}]}
  - {name: weighed, vip: 192.168.1.100, ports: 82, scheduler: wlc, servers: [{name: eps1}, {name: eps3}, {name: eps2, weight: 2}]}
  - {name: least, vip: 192.168.1.100, ports: 81, scheduler: lc, servers: [{name: eps3}, {name: eps1}, {name: eps2}]}
  - {name: web, vip: 192.168.1.100, ports: 80, scheduler: rr, servers: [{name: eps3}, {name: eps1}, {name: eps2}]}
`

// livePair is two directors whose connections are copied over loopback.
type livePair struct {
	t     *testing.T
	ds    [2]*liveDirector
	syncs [2]*flowsync.Sync
	mu    sync.Mutex
	seen  [2]map[string]byte // by director: client and service port, to server
}

func newLivePair(t *testing.T, texts [2]string) *livePair {
	t.Helper()
	p := &livePair{t: t, seen: [2]map[string]byte{{}, {}}}
	var addrs [2]netip.AddrPort
	for i := range addrs {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			t.Skip("no UDP on loopback: ", err)
		}
		defer c.Close()
		addrs[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	for i := range p.ds {
		d := newLiveDirector(t, texts[i], 2, i == 0)
		p.ds[i] = d
		books := NewCopy(d.Control)
		var err error
		p.syncs[i], err = flowsync.New(flowsync.Config{
			Key: [32]byte{7}, Local: addrs[i], Remote: addrs[1-i], Table: d.table, Feeds: d.feeds,
			Backends: books, Ledger: books, Now: d.now, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.arrivals(t, func(src, dst uint16, to byte) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.seen[i][fmt.Sprintf("%d to %d", src, dst)] = to
		}))
	}
	return p
}

// run starts the copying; the result ends it and both directors.
func (p *livePair) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	p.syncs[0].SetActive(true)
	for _, s := range p.syncs {
		wg.Go(func() { _ = s.Run(ctx) })
	}
	return func() {
		cancel()
		wg.Wait() // before the tables go
		for _, d := range p.ds {
			if err := d.stop(); err != nil {
				p.t.Error(err)
			}
		}
	}
}

func (p *livePair) await(what string, cond func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatal("never: " + what)
		}
	}
}

// send passes a frame through a director and returns its server.
func (p *livePair) send(i int, buf []byte) (to byte) {
	p.t.Helper()
	eth := buf[pktio.HeaderLen:]
	key := fmt.Sprintf("%d to %d", uint16(eth[34])<<8|uint16(eth[35]), uint16(eth[36])<<8|uint16(eth[37]))
	p.mu.Lock()
	delete(p.seen[i], key)
	p.mu.Unlock()
	p.ds[i].put(p.t, buf)
	p.await("a frame of "+key+" leaves", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		to = p.seen[i][key]
		return to != 0
	})
	return to
}

// move takes the role from one director to the other, as a planned handover does.
func (p *livePair) move(from, to int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	err := errors.Join(p.ds[from].SetRole(false), p.syncs[from].Flush(ctx))
	p.syncs[from].SetActive(false)
	if err = errors.Join(err, p.ds[to].SetRole(true)); err != nil {
		p.t.Fatal(err)
	}
	p.syncs[to].SetActive(true)
}

type pairClient struct {
	src, dst netip.AddrPort
	udp      bool
	server   byte
}

func (c *pairClient) frame(flags byte) []byte {
	b := segment(c.src, c.dst, flags)
	if c.udp {
		eth := b[pktio.HeaderLen:]
		eth[23] = frame.ProtoUDP
		eth[38], eth[39] = 0, 20 // its length
	}
	return b
}

// loads are the counts of established connections, by service and server.
func (d *liveDirector) loads() map[string]int64 {
	got := map[string]int64{}
	for _, b := range d.snap.Load().Backends {
		if b != nil && b.Service.Name != "new" {
			got[b.Service.Name+"/"+b.Name] = b.Load.Active()
		}
	}
	return got
}

func TestPairOfDirectors(t *testing.T) {
	for name, texts := range map[string][2]string{"alike": {pairFarm, pairFarm}, "other references": {pairFarm, otherPairFarm}} {
		t.Run(name, func(t *testing.T) { pairOfDirectors(t, texts) })
	}
}

func pairOfDirectors(t *testing.T, texts [2]string) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // the last of all
	p := newLivePair(t, texts)
	stop := p.run()
	defer stop()
	var all []*pairClient
	open := func(i, n int, port uint16, udp bool) *pairClient {
		c := &pairClient{
			src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + n%5)}), uint16(20_000+len(all))),
			dst: netip.AddrPortFrom(netip.MustParseAddr("192.168.1.100"), port), udp: udp,
		}
		c.server = p.send(i, c.frame(frame.SYN))
		if again := p.send(i, c.frame(frame.ACK)); again != c.server {
			t.Errorf("%v: first to %d, then to %d", c.src, c.server, again)
		}
		all = append(all, c)
		return c
	}
	same := func() bool {
		a, b := p.ds[0].loads(), p.ds[1].loads()
		return len(a) == 15 && fmt.Sprint(a) == fmt.Sprint(b)
	}
	// One server gets nothing for a while, so that the counts differ.
	for _, service := range []string{"least", "weighed"} {
		if err := p.ds[0].Do(ServerAction{Service: service, Server: "eps3", Action: "drain"}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 12 {
		for port := uint16(80); port < 84; port++ {
			open(0, n, port, false)
		}
		open(0, n, 53, true)
	}
	for _, service := range []string{"least", "weighed"} {
		if err := p.ds[0].Do(ServerAction{Service: service, Server: "eps3", Action: "ready"}); err != nil {
			t.Fatal(err)
		}
	}
	// Fragments live too briefly to be copied.
	piece := all[0].frame(frame.ACK)
	piece[pktio.HeaderLen+20] = 0x20 // more follow
	p.send(0, piece)
	sticky := map[netip.Addr]byte{}
	for _, c := range all {
		if c.dst.Port() == 83 {
			sticky[c.src.Addr()] = c.server
		}
	}
	active := 0
	for round := range 3 {
		p.await("the backup has everything", p.syncs[1-active].Synced)
		p.await(fmt.Sprintf("the counts are alike: %v", round), same)
		for _, d := range p.ds {
			d.awaitBalance(t)
		}
		p.move(active, 1-active)
		active = 1 - active
		for _, c := range all {
			if to := p.send(active, c.frame(frame.ACK)); to != c.server {
				t.Errorf("round %d: %v to %v was on %d and is on %d", round, c.src, c.dst, c.server, to)
			}
		}
		if round == 0 { // warm counts: all go to the server that has none yet
			for n := range 3 {
				for port := uint16(81); port < 83; port++ {
					if c := open(active, n, port, false); c.server != 13 {
						t.Errorf("a new connection to port %d went to %d, which has more already", port, c.server)
					}
				}
			}
		}
		for n := range 5 { // the clients that persistence knows
			if c := open(active, n, 83, false); c.server != sticky[c.src.Addr()] {
				t.Errorf("round %d: client %v was on %d and is on %d", round, c.src.Addr(), sticky[c.src.Addr()], c.server)
			}
		}
	}
	for i, d := range p.ds {
		fragments := 0
		d.table.Range(func(k *frame.Key, e flow.Entry, _ flow.Tick) bool {
			if e.Meta.State() == flow.Fragment {
				fragments++
			}
			if d.snap.Load().Backend(e.Meta.Backend()) == nil {
				t.Errorf("an entry for %v leads nowhere", k.Src())
			}
			return true
		})
		if fragments != 1-i {
			t.Errorf("director %d has %d entries for fragments", i, fragments)
		}
	}
}

// A director that is gone without a word has told what it knew.
func TestPairAfterACrash(t *testing.T) {
	p := newLivePair(t, [2]string{pairFarm, otherPairFarm})
	stop := p.run()
	defer stop()
	var all []*pairClient
	for n := range 60 {
		c := &pairClient{src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + n)}), uint16(30_000+n)), dst: netip.MustParseAddrPort(web)}
		c.server = p.send(0, c.frame(frame.SYN))
		p.send(0, c.frame(frame.ACK))
		all = append(all, c)
	}
	p.await("the backup has everything", p.syncs[1].Synced)
	p.await("its counts are warm", func() bool { return fmt.Sprint(p.ds[0].loads()) == fmt.Sprint(p.ds[1].loads()) })
	if err := p.ds[1].SetRole(true); err != nil { // the first one says and does nothing any more
		t.Fatal(err)
	}
	p.syncs[1].SetActive(true)
	for _, c := range all {
		if to := p.send(1, c.frame(frame.ACK)); to != c.server {
			t.Errorf("%v was on %d and is on %d", c.src, c.server, to)
		}
	}
}
