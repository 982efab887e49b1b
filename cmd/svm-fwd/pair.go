package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/neigh"
	"github.com/svm-cluster/svm/ha"
	"github.com/svm-cluster/svm/ha/flowsync"
)

// pair joins a director with the other one: the election decides its role, and
// with a key the connections are copied.
type pair struct {
	conf       *cluster.Cluster
	log        *slog.Logger
	me, peer   *cluster.Director
	key        []byte
	runner     *ha.Runner
	sync       *flowsync.Sync // nil without a key
	director   *control.Control
	neighbours *neigh.Agent
	live       chan int          // how many servers are alive, newest only
	vips       chan []netip.Addr // to advertise, newest only
	foreign    chan claim
	gone       chan struct{} // the peer's process has probably ended
	stalled    chan struct{} // the election forgot whether all connections are here
	taken      chan struct{} // the other one's last connections are here, or never will be
	failures   int           // to take the role, in a row; take's alone
	yielded    chan struct{} // it answers for the VIPs no more
}

type claim struct {
	vip netip.Addr
	by  string
}

// Times of a planned handover; see docs/ha.md.
const (
	// flushWithin bounds the wait, on the way down, for the other director to
	// confirm the last connections.
	flushWithin = 200 * time.Millisecond
	// yieldWithin bounds the wait, on the way down, for the other one to call the clients.
	yieldWithin = 500 * time.Millisecond
	// linger is how long a director forwards on then: packets are on their way to it
	// until the clients' router has heard the other one.
	linger = 50 * time.Millisecond
	// plainLinger is that without a key, when nobody says that he forwards.
	plainLinger = 100 * time.Millisecond
	// learnWithin is longer than flowsync waits for the other director's last word.
	learnWithin = 1100 * time.Millisecond
)

// newPair prepares the election; attach must follow before run.
func newPair(conf *cluster.Cluster, me *cluster.Director, key []byte, neighbours *neigh.Agent, log *slog.Logger) (*pair, error) {
	p := &pair{conf: conf, log: log, me: me, key: key, live: make(chan int, 1), vips: make(chan []netip.Addr, 1), foreign: make(chan claim, 16),
		gone: make(chan struct{}, 1), stalled: make(chan struct{}, 1),
		taken: make(chan struct{}, 1), yielded: make(chan struct{}, 1), neighbours: neighbours}
	for i := range conf.Directors {
		if d := &conf.Directors[i]; d.Name != me.Name {
			p.peer = d
		}
	}
	h := &conf.HA
	cfg := ha.Config{
		Node: me.Name, VRID: h.VRID, Priority: me.Priority, Interval: h.Interval, Preempt: h.Preempt, PreemptDelay: h.PreemptDelay,
		WaitForSync: p.key != nil, Key: p.key, Links: p.links(), VIPs: conf.VIPs(), AnyTTL: !h.CheckTTL,
		Notify: ha.Notify{Exec: h.Notify.Command, URL: h.Notify.Webhook, Timeout: h.Notify.Timeout},
		Log:    log, OnRole: p.role, OnAnnounce: neighbours.Announce,
		OnReport: func(r ha.Report) {
			if r.Kind == ha.ClockStall {
				poke(p.stalled)
			}
		},
	}
	if h.Checksum == cluster.Plain {
		cfg.Checksum = ha.ChecksumPlain
	}
	if !h.Track.Devices {
		cfg.LinkDownDelta = -1
	}
	if len(h.Track.Command) > 0 {
		cfg.Scripts = []ha.Script{{
			Name: h.Track.Command[0], Command: h.Track.Command, Interval: h.Track.Interval, Timeout: h.Track.Timeout,
			Delta: -int(h.Track.Penalty),
		}}
	}
	var err error
	p.runner, err = ha.New(cfg)
	return p, err
}

// links are the networks that advertisements use: both, or one for a one-armed director.
func (p *pair) links() []ha.Link {
	link := func(mine, theirs *cluster.Interface) ha.Link {
		l := ha.Link{Device: mine.Device, Addr4: mine.Addr(false), Addr6: mine.Addr(true)}
		if p.conf.HA.Unicast {
			for _, v6 := range []bool{false, true} {
				if a := theirs.Addr(v6); a.IsValid() {
					l.Peers = append(l.Peers, a)
				}
			}
		}
		return l
	}
	all := []ha.Link{link(&p.me.Client, &p.peer.Client)}
	if p.me.Server.Device != p.me.Client.Device {
		all = append(all, link(&p.me.Server, &p.peer.Server))
	}
	return all
}

// attach gives the pair the director that it rules, and the table that it copies.
func (p *pair) attach(d *control.Control, table *flow.Table, feeds []*flow.Feed, now func() flow.Tick) error {
	p.director = d
	if p.key == nil {
		return nil
	}
	mine, theirs := p.me.Server.Address, p.peer.Server.Address
	if v6 := mine.Is6(); theirs.Is6() != v6 {
		mine, theirs = p.me.Server.Addr(false), p.peer.Server.Addr(false)
	}
	books := control.NewCopy(d)
	var err error
	p.sync, err = flowsync.New(flowsync.Config{
		Key: [32]byte(p.key), Local: netip.AddrPortFrom(mine, p.conf.HA.SyncPort), Remote: netip.AddrPortFrom(theirs, p.conf.HA.SyncPort),
		Table: table, Feeds: feeds, Backends: books, Ledger: books, Now: now, Log: p.log,
		OnGone: func() { poke(p.gone) }, OnTaken: func() { poke(p.taken) }, OnYield: func() { poke(p.yielded) },
		Settle: max(p.conf.Forwarding.Timeouts.Established, time.Minute),
	})
	return err
}

// role carries out what the election decided; the runner calls it in order.
func (p *pair) role(active bool) {
	if active {
		p.take()
	} else {
		p.give()
	}
}

// take forwards first, and calls the clients once the other director has fallen
// silent or is not there.
func (p *pair) take() {
	err := p.director.Prepare()
	if err == nil {
		if p.sync != nil {
			p.sync.Take()
			p.sync.AwaitYield()
		}
		err = p.director.SetRole(true)
		if p.sync != nil && err == nil {
			p.sync.Called()
		}
	}
	if err == nil {
		p.failures = 0
		return
	}
	pause := retryAfter(p.failures)
	p.failures++
	p.log.Error("this director can't take the role and gives it back", "err", err, "ready_again_in", pause)
	go func() { _ = p.runner.SetTrack(takeoverFault, 0, true) }()
	time.AfterFunc(pause, func() { _ = p.runner.SetTrack(takeoverFault, 0, false) })
}

// takeoverFault names, among what is tracked, a role that couldn't be taken.
const takeoverFault = "takeover"

// retryAfter is how long a director is not ready for the role after it failed to
// take it: longer each time in a row, since each try interrupts the forwarding.
func retryAfter(failures int) time.Duration {
	return min(10*time.Second<<min(failures, 10), 10*time.Minute)
}

// give falls silent first, forwards until the other director does, and ends when
// that one knows all connections.
func (p *pair) give() {
	if !p.director.Yield() {
		return // it has just started
	}
	if p.sync != nil {
		p.sync.Yield(yieldWithin, linger)
	} else {
		time.Sleep(plainLinger)
	}
	if err := p.director.SetRole(false); err != nil {
		p.log.Error("giving up the role", "err", err)
	}
	if p.sync != nil {
		p.flush()
		p.sync.SetActive(false)
	}
}

// run takes part in the election until ctx ends, and returns when the role was
// given away.
func (p *pair) run(ctx context.Context) error { return p.runner.Run(ctx) }

// watch passes on what the election must know, until ctx ends.
func (p *pair) watch(ctx context.Context) error {
	var synced <-chan struct{}
	if p.sync != nil {
		synced = p.sync.Changes()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-synced:
			_ = p.runner.SetSyncReady(p.sync.Synced()) // it ended: so do we
		case <-p.stalled:
			_ = p.runner.SetSyncReady(p.sync != nil && p.sync.Synced())
		case <-p.gone:
			_ = p.runner.PeerGone()
		case <-p.taken:
			if err := p.director.Learned(); err != nil {
				p.log.Error("what is unknown is dropped for a second", "err", err)
			}
		case <-p.yielded:
			p.neighbours.Announce() // whatever the other one's last word was
		case n := <-p.live:
			delta := 0
			if n < p.conf.HA.Track.MinServers {
				delta = -int(p.conf.HA.Track.Penalty)
			}
			_ = p.runner.SetTrack("servers", delta, false)
		case v := <-p.vips:
			if err := p.runner.SetVIPs(v); err != nil && !errors.Is(err, ha.ErrNotRunning) {
				p.log.Error("the old VIPs stay advertised", "err", err)
			}
		case f := <-p.foreign:
			_ = p.runner.SawForeignAnnounce(f.vip, f.by)
		}
	}
}

// onLive, onVIPs and onForeign are control's, which holds its lock: they never wait.
func (p *pair) onLive(n int) {
	if p.conf.HA.Track.MinServers > 0 {
		replace(p.live, n)
	}
}

func (p *pair) onVIPs(vips []netip.Addr) { replace(p.vips, vips) }

func (p *pair) onForeign(vip netip.Addr, by string) {
	select {
	case p.foreign <- claim{vip, by}:
	default: // there are enough to hear of already
	}
}

// poke leaves word in c unless some is there.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// replace puts v in the place of whatever waits in c, which holds one value and
// has one sender.
func replace[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	c <- v
}

// Status, Takeover and Release implement control.Pair.
func (p *pair) Status() control.PairStatus {
	s := control.PairStatus{HA: p.runner.Status()}
	if p.sync != nil {
		st := p.sync.Status()
		s.Sync = &st
	}
	return s
}

// Takeover makes this director the active one.
func (p *pair) Takeover() error { return p.runner.Takeover() }

// Release gives the role to the other director, once that has all connections.
func (p *pair) Release() error {
	p.flush()
	return p.runner.Release()
}

func (p *pair) flush() {
	if p.sync == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushWithin)
	defer cancel()
	_ = p.sync.Flush(ctx)
}
