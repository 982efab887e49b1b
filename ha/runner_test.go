package ha

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hub is a wire in memory for runners: everybody hears everybody, per link.
type hub struct {
	mu    sync.Mutex
	ports []*port
	drop  func(from, to *port, link int) bool
}

type port struct {
	h      *hub
	name   string
	paths  []path
	rx     []chan packet
	gone   chan struct{}
	linkOK [maxPaths]bool
}

func (h *hub) open(name string) func(*Runner) (transport, error) {
	return func(r *Runner) (transport, error) {
		p := &port{h: h, name: name, paths: r.paths, gone: make(chan struct{})}
		for i := range r.paths {
			p.rx = append(p.rx, make(chan packet, 1000))
			p.linkOK[i] = true
		}
		h.mu.Lock()
		h.ports = append(h.ports, p)
		h.mu.Unlock()
		return p, nil
	}
}

// inject puts a packet into every port but from.
func (h *hub) inject(from *port, link int, p packet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, to := range h.ports {
		if to == from || h.drop != nil && h.drop(from, to, link) {
			continue
		}
		for i, tp := range to.paths {
			if tp.link == link && tp.v6 == p.dst.Is6() {
				q := p
				q.path, q.data = i, slices.Clone(p.data)
				select {
				case to.rx[i] <- q:
				default:
				}
			}
		}
	}
}

func (p *port) send(path int, dst netip.Addr, b []byte) error {
	p.h.inject(p, p.paths[path].link, packet{data: b, src: p.paths[path].local, dst: dst, ttl: 255})
	return nil
}

func (p *port) recv(path int) (packet, error) {
	select {
	case q := <-p.rx[path]:
		return q, nil
	case <-p.gone:
		return packet{}, net.ErrClosed
	}
}

func (p *port) linkUp(path int) (bool, error) {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	return p.linkOK[path], nil
}

func (p *port) close() {
	p.h.mu.Lock()
	p.h.ports = slices.DeleteFunc(p.h.ports, func(o *port) bool { return o == p })
	p.h.mu.Unlock()
	close(p.gone)
}

// director is a runner in a test.
type director struct {
	*Runner
	mu     sync.Mutex
	calls  []string
	cancel context.CancelFunc
	done   chan struct{}
}

func (d *director) note(s string) {
	d.mu.Lock()
	d.calls = append(d.calls, s)
	d.mu.Unlock()
}

func (d *director) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := strings.Join(d.calls, " ")
	d.calls = nil
	return s
}

func testConfig(n int, priority uint8) Config {
	return Config{Node: fmt.Sprintf("eds%d", n), VRID: 51, Priority: priority, Interval: 100 * ms, Preempt: true,
		Links: []Link{
			{Device: "eth0", Addr4: addr(fmt.Sprintf("10.0.0.%d", n)), Addr6: addr(fmt.Sprintf("fe80::%d", n))},
			{Device: "eth1", Addr4: addr(fmt.Sprintf("10.1.0.%d", n))},
		},
		VIPs: []netip.Addr{addr("10.0.0.100"), addr("2001:db8::100")}}
}

func start(t *testing.T, h *hub, cfg Config) *director {
	t.Helper()
	d := &director{done: make(chan struct{})}
	cfg.OnRole = func(active bool) { d.note(fmt.Sprintf("active=%v", active)) }
	cfg.OnAnnounce = func() { d.note("announce") }
	cfg.OnReport = func(r Report) { d.note(string(r.Kind)) }
	begin := time.Now()
	cfg.clock = func() time.Duration { return time.Second + time.Since(begin) }
	cfg.open = h.open(cfg.Node)
	var err error
	if d.Runner, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(t.Context())
	go func() {
		defer close(d.done)
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	return d
}

func (d *director) stop() { d.cancel(); <-d.done; synctest.Wait() }

func wantCalls(t *testing.T, what string, d *director, want string) {
	t.Helper()
	synctest.Wait()
	if got := d.take(); got != want {
		t.Errorf("%s: %s: %q, want %q", what, d.cfg.Node, got, want)
	}
}

func sleep(d time.Duration) { time.Sleep(d); synctest.Wait() }

func TestRunnerPair(t *testing.T) {
	for _, key := range [][]byte{nil, testKey} {
		t.Run(fmt.Sprintf("key=%v", key != nil), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hub{}
				c1, c2 := testConfig(1, 200), testConfig(2, 100)
				c1.Key, c2.Key = key, key
				a := start(t, h, c1)
				b := start(t, h, c2)
				sleep(time.Second)
				wantCalls(t, "start", a, "active=false active=true announce")
				wantCalls(t, "start", b, "active=false")
				// Planned: release, and back by preemption after takeover's end.
				if err := a.Release(); err != nil {
					t.Fatal(err)
				}
				sleep(time.Second)
				wantCalls(t, "release", a, "priority active=false")
				wantCalls(t, "release", b, "active=true announce")
				noGap(t, a, b)
				if err := a.Takeover(); err != nil {
					t.Fatal(err)
				}
				sleep(time.Second)
				wantCalls(t, "takeover", a, "active=true announce priority announce")
				wantCalls(t, "takeover", b, "active=false")
				noGap(t, b, a)
				if err := b.Takeover(); err != nil {
					t.Fatal(err)
				}
				sleep(time.Second)
				wantCalls(t, "takeover by the lower", b, "active=true announce priority announce")
				wantCalls(t, "takeover by the lower", a, "active=false")
				if s := b.Status(); s.Role != "active" || !s.Raised || s.Priority != 201 || s.Authenticated != (key != nil) {
					t.Errorf("%+v", s)
				}
				b.stop()
				wantCalls(t, "stop", b, "active=false")
				noGap(t, b, a)
				sleep(time.Second)
				wantCalls(t, "the peer stopped", a, "active=true announce")
				if s := a.Status(); s.Received["replayed"] > 10 || s.Received["bad-seal"] != 0 || len(s.Peers) != 3 || s.SendFailures != 0 {
					t.Errorf("%+v", s)
				}
				a.stop()
			})
		})
	}
}

// noGap wants the old active director to have stopped after the new one began.
func noGap(t *testing.T, old, now *director) {
	t.Helper()
	stopped, began := old.Status().Since, now.Status().Since
	if s := now.Status(); s.Role != "active" || stopped.Before(began) {
		t.Errorf("%s became %s at %v, %s stopped at %v", now.cfg.Node, s.Role, began, old.cfg.Node, stopped)
	}
}

// One cut cable is no split; both cut is, and it heals to the higher one.
func TestRunnerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		c1, c2 := testConfig(1, 200), testConfig(2, 100)
		c1.Key, c2.Key = testKey, testKey
		a, b := start(t, h, c1), start(t, h, c2)
		sleep(time.Second)
		a.take()
		b.take()
		cut := func(links ...int) {
			h.mu.Lock()
			h.drop = func(_, _ *port, link int) bool { return slices.Contains(links, link) }
			h.mu.Unlock()
		}
		cut(0)
		sleep(time.Second)
		cut(1)
		sleep(time.Second)
		wantCalls(t, "one cable", a, "")
		wantCalls(t, "one cable", b, "")
		cut(0, 1)
		sleep(time.Second)
		wantCalls(t, "both cables", b, "active=true announce")
		cut()
		sleep(time.Second)
		wantCalls(t, "healed", b, "active=false")
		if got := a.take(); got != "split-brain announce split-healed" && got != "announce" {
			t.Errorf("healed: %q", got)
		}
		// The carrier of the active's client cable goes: the peer takes over, at once.
		h.mu.Lock()
		for _, p := range h.ports {
			if p.name == "eds1" {
				p.linkOK[0] = false
			}
		}
		h.mu.Unlock()
		sleep(300 * ms)
		wantCalls(t, "carrier", b, "active=true announce")
		wantCalls(t, "carrier", a, "active=false")
		if s := a.Status(); s.Fault != "link eth0" {
			t.Errorf("%+v", s)
		}
		a.stop()
		b.stop()
	})
}

// Whatever strangers send, with a key nothing changes, and all is counted.
func TestRunnerForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		c1, c2 := testConfig(1, 200), testConfig(2, 100)
		c1.Key, c2.Key = testKey, testKey
		var tape []packet
		h.drop = func(from, _ *port, link int) bool { return false }
		a, b := start(t, h, c1), start(t, h, c2)
		sleep(time.Second)
		a.take()
		b.take()
		r := rand.New(rand.NewPCG(3, 4))
		// A recording of a's own packets, from a's sealer as it was.
		src, dst := addr("10.0.0.1"), Group4()
		old, _ := NewSeal(testKey, src)
		for range 200 {
			adv := Advert{VRID: 51, Priority: 255, Interval: 100 * ms, Addrs: []netip.Addr{addr("10.0.0.100")}}
			tape = append(tape, packet{data: old.Append(nil, &adv, src, dst, 0), src: src, dst: dst, ttl: 255})
			plain := packet{data: adv.Append(nil, src, dst, 0), src: addr("10.0.0.7"), dst: dst, ttl: 255}
			tape = append(tape, plain)
			adv.Priority = 0
			plain.data = adv.Append(nil, src, dst, 0)
			tape = append(tape, plain)
			cut := tape[0]
			cut.data = cut.data[:r.IntN(len(cut.data))]
			noise := make([]byte, r.IntN(300))
			for i := range noise {
				noise[i] = byte(r.Uint32())
			}
			far := plain
			far.ttl = 254
			tape = append(tape, cut, far, packet{data: noise, src: src, dst: dst, ttl: 255})
		}
		before := b.Status()
		for i, p := range tape {
			h.inject(nil, 0, p)
			if i%20 == 0 {
				sleep(ms)
			}
		}
		sleep(time.Second)
		wantCalls(t, "forged", a, "")
		wantCalls(t, "forged", b, "")
		s := b.Status()
		if s.Role != "backup" || s.Transitions != before.Transitions {
			t.Errorf("%+v", s)
		}
		refused := uint64(0)
		for name, n := range s.Received {
			if name != "ok" && name != "hello" {
				refused += n - before.Received[name]
			}
		}
		if refused != uint64(len(tape)) {
			t.Errorf("%d of %d refused packets are counted: %v", refused, len(tape), s.Received)
		}
		a.stop()
		b.stop()
	})
}

func TestConfigRefused(t *testing.T) {
	for name, f := range map[string]func(*Config){
		"VRID":      func(c *Config) { c.VRID = 0 },
		"priority":  func(c *Config) { c.Priority = 0 },
		"interval":  func(c *Config) { c.Interval = 12 * ms },
		"key":       func(c *Config) { c.Key = []byte("short") },
		"links":     func(c *Config) { c.Links = nil },
		"twice":     func(c *Config) { c.Links[1].Device = "eth0" },
		"family":    func(c *Config) { c.Links[0].Addr4 = addr("::1") },
		"VIP":       func(c *Config) { c.VIPs = nil },
		"VIPs'":     func(c *Config) { c.VIPs = []netip.Addr{addr("2001:db8::1")}; c.Links[0].Addr6 = netip.Addr{} },
		"AnyTTL":    func(c *Config) { c.AnyTTL = true },
		"script":    func(c *Config) { c.Scripts = []Script{{}} },
		"itself":    func(c *Config) { c.Links[0].Peers = []netip.Addr{c.Links[0].Addr4} },
		"no device": func(c *Config) { c.Links[0].Device = "" },
	} {
		c := testConfig(1, 100)
		f(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// From the last advertisement heard to the takeover it is the down interval, to
// the nanosecond, whatever the interval and with or without a key; and the
// callback has been called by then.
func TestRunnerTakesOverInTime(t *testing.T) {
	for _, interval := range []time.Duration{10 * ms, 100 * ms, time.Second, 40 * time.Second} {
		for _, key := range [][]byte{nil, testKey} {
			synctest.Test(t, func(t *testing.T) {
				h := &hub{}
				c1, c2 := testConfig(1, 200), testConfig(2, 100)
				c1.Interval, c2.Interval, c1.Key, c2.Key = interval, interval, key, key
				a, b := start(t, h, c1), start(t, h, c2)
				sleep(20 * interval)
				h.mu.Lock()
				h.drop = func(from, _ *port, _ int) bool { return from.name == "eds1" }
				h.mu.Unlock()
				want := time.Duration(0)
				for _, p := range b.Status().Peers {
					want = max(want, p.Interval)
				}
				want = 3*want + 156*interval/256
				sleep(5 * interval)
				last := time.Time{}
				for _, p := range b.Status().Peers {
					if p.Seen.After(last) {
						last = p.Seen
					}
				}
				s := b.Status()
				if got := s.Since.Sub(last); got != want || s.Role != "active" {
					t.Errorf("interval %v, key %v: %s after %v, want %v", interval, key != nil, s.Role, got, want)
				}
				wantCalls(t, "down", b, "active=false active=true announce")
				b.stop()
				a.stop()
			})
		}
	}
}
