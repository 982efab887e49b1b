package control

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// hand gives the role away and takes it, each end in its own time, as the two
// daemons of a pair do.
func (p *livePair) hand(from, to int, late time.Duration) {
	p.t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.ds[to].Prepare(); err != nil {
			p.t.Error(err)
		}
		p.syncs[to].Take()
		p.syncs[to].AwaitYield()
		if err := p.ds[to].SetRole(true); err != nil {
			p.t.Error(err)
		}
		p.syncs[to].Called()
	})
	time.Sleep(late) // until it hears of the other one
	p.ds[from].Yield()
	p.syncs[from].Yield(time.Second, 30*time.Millisecond)
	if err := p.ds[from].SetRole(false); err != nil {
		p.t.Error(err)
	}
	if err := p.syncs[from].Flush(p.t.Context()); err != nil {
		p.t.Error(err)
	}
	p.syncs[from].SetActive(false)
	wg.Wait()
}

// router sends to whoever called last, a little later.
func (p *livePair) router(stop <-chan struct{}) *atomic.Int32 {
	to := new(atomic.Int32)
	go func() {
		called := [2]bool{p.ds[0].announced(), p.ds[1].announced()}
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
			for i, d := range p.ds {
				if now := d.announced(); now != called[i] {
					if called[i] = now; now {
						time.Sleep(rand.N(20 * time.Millisecond))
						to.Store(int32(i))
					}
				}
			}
		}
	}()
	return to
}

// pass sends a frame along the router's way, again and again until one of the
// directors has forwarded it, and returns its server.
func (p *livePair) pass(to *atomic.Int32, c *pairClient, flags byte) byte {
	key := fmt.Sprintf("%d to %d", c.src.Port(), c.dst.Port())
	p.mu.Lock()
	delete(p.seen[0], key)
	delete(p.seen[1], key)
	p.mu.Unlock()
	for range 200 {
		p.ds[to.Load()].put(p.t, c.frame(flags))
		for range 100 { // then it is lost, and the client repeats it
			p.mu.Lock()
			server := max(p.seen[0][key], p.seen[1][key])
			p.mu.Unlock()
			if server != 0 {
				return server
			}
			time.Sleep(300 * time.Microsecond)
		}
	}
	p.t.Errorf("%v: never forwarded", c.src)
	return 0
}

// TestHandoverUnderTraffic moves the role to and fro while connections are opened
// all the time, under keys that come again while the ones before are closing: not
// one changes its server, and none is guessed about.
func TestHandoverUnderTraffic(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	p := newLivePair(t, [2]string{pairFarm, otherPairFarm})
	for _, d := range p.ds {
		d.cfg.Learn = 2 * time.Second
	}
	stop := p.run()
	defer stop()
	p.await("the backup has everything", p.syncs[1].Synced)
	over, done := make(chan struct{}), make(chan struct{})
	to := p.router(over)
	defer close(over)
	var wg sync.WaitGroup
	var opened atomic.Int64
	for w := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				c := &pairClient{
					src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + w)}), uint16(10_000+w*5000+n%7)),
					dst: netip.MustParseAddrPort(web),
				}
				c.server = p.pass(to, c, frame.SYN)
				for range 3 {
					time.Sleep(rand.N(3 * time.Millisecond))
					if server := p.pass(to, c, frame.ACK); server != c.server {
						t.Errorf("%v was on %d and is on %d", c.src, c.server, server)
					}
				}
				p.pass(to, c, frame.FIN|frame.ACK)
				opened.Add(1)
			}
		})
	}
	active := 0
	for range 6 {
		p.await("the backup has everything", p.syncs[1-active].Synced)
		n := opened.Load()
		p.await("some more are opened", func() bool { return opened.Load() > n+20 || t.Failed() })
		p.hand(active, 1-active, rand.N(20*time.Millisecond))
		active = 1 - active
	}
	close(done)
	wg.Wait()
	for i, d := range p.ds {
		if n := d.reasons()[forwarder.Fallback]; n > 0 {
			t.Errorf("director %d guessed the servers of %d segments", i, n)
		}
	}
	t.Logf("%d connections", opened.Load())
}

// The halves of taking a role and of giving it away.
func TestHalvesOfARole(t *testing.T) {
	d := newDirector(t, farm)
	d.cfg.Learn = time.Second
	is := func(what string, forwards, answers, learns bool) {
		t.Helper()
		s := d.snap.Load()
		if s.Active != forwards || d.outside.active != answers || s.Learning != learns || len(d.outside.filter.Addrs) > 0 != forwards {
			t.Errorf("%s: forwards %v, answers %v, learns %v, filter %v", what, s.Active, d.outside.active, s.Learning, d.outside.filter.Addrs)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	is("active", true, true, false)
	if !d.Yield() {
		t.Error("there is no role to give away")
	}
	is("yielding", true, false, true)
	d.reload(farm + dns)
	is("yielding, reloaded", true, false, true)
	must(d.SetRole(false))
	is("backup", false, false, false)
	if d.Yield() {
		t.Error("a backup gives a role away")
	}
	must(d.Prepare())
	is("prepared", true, false, true)
	must(d.Prepare())
	is("prepared twice", true, false, true)
	d.reload(farm)
	is("prepared, reloaded", true, false, true)
	must(d.SetRole(true))
	is("active again", true, true, true)
	must(d.Prepare()) // too late to be silent again
	is("active still", true, true, true)
	must(d.Learned())
	is("learned", true, true, false)
	d.Yield()
	must(d.SetRole(true))
	is("taken back", true, true, true)
	d.now += 1000
	must(d.Do(ServerAction{Service: "web", Server: "eps1", Action: "drain"}))
	is("after its time", true, true, false)
	must(d.SetRole(false))
	must(d.Prepare())
	must(d.SetRole(false))
	is("backup in between", false, false, false)
}

// A role is given away only when no worker is in the middle of a batch any more.
func TestRoleWaitsForTheWorkers(t *testing.T) {
	d := newLiveDirector(t, pairFarm, 1, true)
	var round, asked atomic.Uint64
	round.Store(7)
	view := d.views[0]
	view.Round = func() uint64 { asked.Add(1); return round.Load() }
	d.cfg.Workers = []WorkerView{view}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := d.SetRole(false); err != nil {
			t.Error(err)
		}
	}()
	for asked.Load() < 4 { // it looks again and again
		select {
		case <-ended:
			t.Fatal("the role was gone before the worker had finished")
		case <-time.After(10 * time.Microsecond):
		}
	}
	round.Add(1)
	<-ended
	if d.snap.Load().Active {
		t.Error("still active")
	}
}

// What came before the role was given away is forwarded, however far a worker is
// behind: only when it has found nothing more it stands by.
func TestRoleWaitsForWhatCameBefore(t *testing.T) {
	d := newDirector(t, farm)
	var emptied atomic.Uint64
	asked := 0
	view := WorkerView{Round: func() uint64 { return 0 }}
	view.Emptied = func() uint64 {
		if asked++; asked == 4 { // it was behind
			if !d.snap.Load().Active || len(d.outside.filter.Addrs) != 0 {
				t.Errorf("active %v, filter %v", d.snap.Load().Active, d.outside.filter.Addrs)
			}
			emptied.Add(1)
		}
		return emptied.Load()
	}
	d.cfg.Workers = []WorkerView{view}
	d.Yield()
	if err := d.SetRole(false); err != nil {
		t.Fatal(err)
	}
	if asked < 4 || d.snap.Load().Active {
		t.Errorf("asked %d times, active %v", asked, d.snap.Load().Active)
	}
}
