package ha

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Runner takes part in the election for one director. Its methods may be called
// by any goroutine; Run and Open once.
type Runner struct {
	cfg   Config
	log   *slog.Logger
	paths []path
	seal  *Seal // nil without a key
	tr    transport

	m        *Machine // Run's goroutine alone
	vips     [2][]netip.Addr
	tracks   map[string]track
	left     bool
	helloAt  time.Duration // when the next one is due
	answerAt time.Duration // not before: answers to the unproven
	why      string        // of the current role

	cmds     chan func()
	ended    chan struct{}
	calls    *calls
	notifier *notifier

	counters  Counters
	sent      atomic.Uint64
	sendFails atomic.Uint64

	mu sync.Mutex // guards st
	st Status
}

// New checks the configuration. It opens nothing and starts nothing.
func New(cfg Config) (*Runner, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.clock == nil {
		cfg.clock = boottime
	}
	if cfg.open == nil {
		cfg.open = openRaw
	}
	m, err := NewMachine(cfg.machine())
	if err != nil {
		return nil, err
	}
	r := &Runner{cfg: cfg, log: cfg.Log, paths: cfg.paths(), m: m, tracks: make(map[string]track),
		cmds: make(chan func()), ended: make(chan struct{}), calls: newCalls()}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Key != nil {
		if r.seal, err = NewSeal(cfg.Key, cfg.node()); err != nil {
			return nil, err
		}
	}
	r.vips[0], r.vips[1] = split(cfg.VIPs)
	r.notifier = newNotifier(cfg.Notify, r.log)
	r.st = Status{Role: Initialize.String(), VRID: cfg.VRID, Configured: cfg.Priority, Interval: cfg.Interval, Authenticated: r.seal != nil,
		Peers: map[string]Peer{}, Reports: map[string]uint64{}}
	r.show()
	return r, nil
}

// Open opens the sockets, in the network namespace of the calling thread. Run
// does it when it has not been done.
func (r *Runner) Open() (err error) {
	if r.tr == nil {
		r.tr, err = r.cfg.open(r)
	}
	return err
}

// Run takes part until ctx ends. Then the role is given away: the peer is told,
// and this director goes on forwarding until the peer is heard as the active
// one, at most LeaveTime; OnRole(false) has returned when Run does.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.Open(); err != nil {
		close(r.ended)
		return err
	}
	if r.seal == nil {
		r.log.Warn("ha: no key: advertisements are plain VRRPv3, anyone on these networks can take the role; connections are not synchronised",
			"remedy", "svm-fwd genkey, and ha.key_file on both directors")
	}
	side, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	rx, tr := make(chan packet, 256), r.tr
	for i := range r.paths {
		wg.Go(func() { r.receive(side, tr, i, rx) })
	}
	for i := range r.cfg.Scripts {
		wg.Go(func() { r.runScript(side, &r.cfg.Scripts[i]) })
	}
	var callers sync.WaitGroup
	callers.Go(r.calls.run)
	callers.Go(r.notifier.run)
	r.loop(ctx, rx)
	close(r.ended)
	stop()
	tr.close()
	r.calls.close()
	r.notifier.close()
	// Packets that arrive meanwhile go nowhere; readers end with their socket.
	wg.Wait()
	callers.Wait()
	return nil
}

func (r *Runner) receive(ctx context.Context, tr transport, path int, rx chan<- packet) {
	for {
		p, err := tr.recv(path)
		if err != nil {
			if ctx.Err() == nil {
				r.log.Error("ha: receiving ended", "path", r.paths[path].name, "err", err)
			}
			return
		}
		select {
		case rx <- p:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Runner) loop(ctx context.Context, rx <-chan packet) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	poll := time.NewTicker(min(max(r.cfg.Interval, 50*time.Millisecond), 500*time.Millisecond))
	defer poll.Stop()
	r.pollLinks()
	r.step(Startup{})
	r.hello()
	stop := ctx.Done()
	for !r.left {
		timer.Reset(r.nextTimer())
		select {
		case p := <-rx:
			r.packet(p)
		case <-timer.C:
			r.drain(rx)
			r.tick()
		case f := <-r.cmds:
			f()
		case <-poll.C:
			r.pollLinks()
		case <-stop:
			stop = nil
			r.step(Leave{})
		}
	}
	r.step(Shutdown{})
}

// drain takes what waits already: a peer that was heard in time counts, however
// late this goroutine is.
func (r *Runner) drain(rx <-chan packet) {
	for range cap(rx) {
		select {
		case p := <-rx:
			r.packet(p)
		default:
			return
		}
	}
}

func (r *Runner) nextTimer() time.Duration {
	next := r.m.timer
	if r.seal != nil && (next == 0 || r.helloAt < next) && r.m.state == Backup {
		next = r.helloAt
	}
	if next == 0 {
		return time.Hour
	}
	return max(next-r.cfg.clock(), 0)
}

func (r *Runner) tick() {
	now := r.cfg.clock()
	if r.m.timer != 0 && now >= r.m.timer {
		r.step(Tick{})
	}
	if r.m.state == Backup && now >= r.helloAt {
		r.hello()
	}
}

func (r *Runner) step(ev Event) {
	now := max(r.cfg.clock(), 1)
	// The slice is the machine's; perform never calls Step.
	for _, a := range r.m.Step(now, ev) {
		r.perform(a)
	}
	r.show()
}

func (r *Runner) perform(a Action) {
	switch a := a.(type) {
	case Send:
		r.advertise(a.Priority, false)
	case BecomeActive:
		r.role(true, a.Why)
	case BecomeBackup:
		r.role(false, a.Why)
	case Announce:
		if r.cfg.OnAnnounce != nil {
			r.calls.add(r.cfg.OnAnnounce)
		}
	case Left:
		r.left = true
	case Report:
		r.reported(a)
	}
}

func (r *Runner) role(active bool, why string) {
	r.why = why
	name := "backup"
	if active {
		name = "active"
	}
	r.log.Info("ha: role", "role", name, "why", why, "vrid", r.cfg.VRID, "priority", r.m.Priority())
	r.mu.Lock()
	r.st.Transitions++
	r.st.Since = time.Now()
	r.mu.Unlock()
	if r.cfg.OnRole != nil {
		r.calls.add(func() { r.cfg.OnRole(active) })
	}
	r.notifier.put(Notification{Time: time.Now(), Node: r.cfg.Node, VRID: r.cfg.VRID, Role: name, Reason: why, Priority: r.m.Priority()})
}

func (r *Runner) reported(a Report) {
	level := slog.LevelWarn
	if a.Kind == PriorityIs || a.Kind == PreemptHeld || a.Kind == SplitHealed {
		level = slog.LevelInfo
	}
	r.log.Log(context.Background(), level, "ha: "+string(a.Kind), "detail", a.Detail, "vrid", r.cfg.VRID)
	r.mu.Lock()
	r.st.Reports[string(a.Kind)]++
	r.mu.Unlock()
	if r.cfg.OnReport != nil {
		r.calls.add(func() { r.cfg.OnReport(a) })
	}
}

// advertise sends on every path whose family has VIPs. A hello goes there too.
func (r *Runner) advertise(priority uint8, hello bool) {
	a := Advert{VRID: r.cfg.VRID, Priority: priority, Interval: r.cfg.Interval, Hello: hello}
	for i := range r.paths {
		p := &r.paths[i]
		vips := r.vips[0]
		if p.v6 {
			vips = r.vips[1]
		}
		if len(vips) == 0 {
			continue
		}
		if a.Addrs = vips; hello {
			a.Addrs = nil
		}
		if len(p.peers) == 0 {
			r.transmit(i, &a, p.local, p.group())
			continue
		}
		for _, peer := range p.peers {
			r.transmit(i, &a, p.local, peer)
		}
	}
}

func (r *Runner) transmit(path int, a *Advert, src, dst netip.Addr) {
	var b []byte
	if r.seal != nil {
		b = r.seal.Append(nil, a, src, dst, r.cfg.Checksum)
	} else {
		b = a.Append(nil, src, dst, r.cfg.Checksum)
	}
	r.sent.Add(1)
	if err := r.tr.send(path, dst, b); err != nil {
		if r.sendFails.Add(1) == 1 {
			r.log.Warn("ha: cannot send; further failures are counted only", "path", r.paths[path].name, "to", dst, "err", err)
		}
	}
}

// hello tells the active director that this backup lives, and shows our
// challenge. Only with a key: plain VRRP has no such packet.
func (r *Runner) hello() {
	if r.seal == nil {
		return
	}
	r.helloAt = r.cfg.clock() + HelloInterval(r.cfg.Interval)
	r.advertise(r.m.Priority(), true)
}

// do runs f in Run's goroutine and waits for it.
// ErrNotRunning is returned by what needs Run after that has ended.
var ErrNotRunning = errors.New("ha: not running")

func (r *Runner) do(f func()) error {
	done := make(chan struct{})
	select {
	case r.cmds <- func() { f(); close(done) }:
		<-done
		return nil
	case <-r.ended:
		return ErrNotRunning
	}
}

// Takeover makes this director the active one, at once and until it is beaten,
// released or restarted. It waits for Run to have begun.
func (r *Runner) Takeover() error { return r.manual(Takeover{}) }

// Release gives the role to the peer. Without a peer it stays; see Status.
func (r *Runner) Release() error { return r.manual(Release{}) }

func (r *Runner) manual(ev Event) (err error) {
	e := r.do(func() {
		before := r.reportCount(TakeoverMoot)
		r.step(ev)
		if r.reportCount(TakeoverMoot) != before {
			err = fmt.Errorf("ha: %s", r.lastReport())
		}
	})
	return errors.Join(e, err)
}

// SetSyncReady tells whether this director has all connections. A ClockStall
// report takes it back: say it again when it is true again.
func (r *Runner) SetSyncReady(ready bool) error { return r.do(func() { r.step(SyncReady{ready}) }) }

// SawForeignAnnounce tells that somebody else, with the address from, announced
// or answered for one of the VIPs.
func (r *Runner) SawForeignAnnounce(vip netip.Addr, from string) error {
	return r.do(func() { r.step(ForeignAnnounce{vip, from}) })
}

// PeerGone hints that the peer's process has ended. If the peer is silent, too,
// this director takes over sooner.
func (r *Runner) PeerGone() error { return r.do(func() { r.step(PeerGone{}) }) }

// SetPriority changes the configured priority (1 to 254).
func (r *Runner) SetPriority(p uint8) error {
	if p == 0 || p == owner {
		return fmt.Errorf("ha: priority %d: want 1 to 254", p)
	}
	return r.do(func() { r.step(SetPriority{p}); r.setConfigured(p) })
}

// SetVIPs changes the addresses that are advertised.
func (r *Runner) SetVIPs(vips []netip.Addr) error {
	if err := r.cfg.checkVIPs(vips); err != nil {
		return err
	}
	return r.do(func() { r.vips[0], r.vips[1] = split(vips) })
}
