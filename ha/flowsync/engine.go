package flowsync

import (
	"encoding/binary"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// engine is the whole protocol without sockets, goroutines or locks.
type engine struct {
	cfg      Config
	transmit func([]byte) // must not keep its argument
	greeter  *greeter
	session  *session // nil when there is none
	greeted  flow.Tick
	warned   bool // of another version
	warnedAt flow.Tick
	checked  flow.Tick
	ticked   flow.Tick

	taking   bool // about to be active: see handover.go
	calling  bool // and the clients know
	takenAt  flow.Tick
	refused  bool // the peer's host says that nobody listens there any more
	yielding bool // about to be a backup

	active   bool
	since    flow.Tick // when it became active
	whole    bool      // active: what it doesn't have does not live
	mirrored bool      // backup: the table was whole when last heard of
	left     flow.Tick // when the last session ended

	out    outbox
	in     inbox
	ack    bool // something arrived since the last status
	unsaid int  // so many datagrams
	status [headerLen + 16 + window/8 + 8 + tagLen]byte

	stream stream
	mirror mirror
	totals totals
}

// session is what two runs of two directors share.
type session struct {
	local, remote nonce
	tx, rx        half
	said          uint64 // number of our last status
	heardNumber   uint64 // number of the peer's last
	spoke, heard  flow.Tick
	confirmed     bool // the peer has used it too

	// Of the peer, as it says.
	known, peerActive, peerSynced bool
	peerTaking, peerYielding      bool
	peerCalling                   bool
	peerWant                      uint32

	want   uint32 // passes that we asked for
	synced bool
}

func newEngine(cfg Config, transmit func([]byte)) (*engine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	g, err := newGreeter(&cfg.Key, cfg.Local, cfg.Remote)
	if err != nil {
		return nil, err
	}
	e := &engine{cfg: cfg, transmit: transmit, greeter: g}
	now := cfg.Now()
	e.greeted = now - flow.Tick(ticks(cfg.Silence))
	e.checked, e.ticked = now, now
	e.stream.init(&e.cfg)
	e.mirror.init(&e.cfg)
	return e, nil
}

// begin starts a session with the side that chose the remote nonce, in place of
// any that there was.
func (e *engine) begin(remote nonce, now flow.Tick) error {
	s := &session{local: e.greeter.ready, remote: remote, spoke: now, heard: now}
	var err error
	if s.tx, err = newHalf(&e.cfg.Key, s.local, remote); err != nil {
		return err
	}
	if s.rx, err = newHalf(&e.cfg.Key, remote, s.local); err != nil {
		return err
	}
	e.greeter.renew()
	if e.session != nil {
		e.end("the peer has restarted", now)
	}
	if !e.active {
		s.want = 1
	}
	e.session = s
	e.greeted, e.checked = now, now
	e.totals.sessions++
	e.out.reset()
	e.in.reset()
	e.stream.reset()
	e.mirror.reset()
	e.cfg.Log.Info("flowsync: session begins", "peer", e.cfg.Remote)
	e.say(now)
	return nil
}

func (e *engine) end(why string, now flow.Tick) {
	e.session = nil
	e.greeted, e.left = now, now
	e.totals.changes++
	e.cfg.Log.Warn("flowsync: session ends: "+why, "peer", e.cfg.Remote)
}

// receive is told of a datagram, which it overwrites.
func (e *engine) receive(d []byte, now flow.Tick) {
	e.totals.bytesIn += uint64(len(d))
	e.totals.datagramsIn++
	if r := e.judge(d, now); r != Accepted {
		e.totals.refused[r]++
	}
}

func (e *engine) judge(d []byte, now flow.Tick) Reason {
	if len(d) < headerLen || len(d) > maxDatagram {
		return Size
	}
	if d[0] != version {
		e.warnVersion(d[0], now)
		return Version
	}
	switch d[1] {
	case kindHello:
		return e.greet(d, now)
	case kindData, kindStatus:
	default:
		return Kind
	}
	s := e.session
	switch {
	case len(d) < headerLen+tagLen:
		return Size
	case s == nil || [6]byte(d[2:8]) != s.rx.tag:
		return Session
	case d[1] == kindData:
		return e.receiveData(s, d, now)
	}
	return e.receiveStatus(s, d, now)
}

func (e *engine) warnVersion(v byte, now flow.Tick) {
	if e.warned && age(e.warnedAt, now) < 60_000 {
		return
	}
	e.warned, e.warnedAt = true, now
	e.cfg.Log.Warn("flowsync: the peer speaks another version: let both directors run the same release",
		"peer", e.cfg.Remote, "theirs", v, "ours", version)
}

func (e *engine) receiveData(s *session, d []byte, now flow.Tick) Reason {
	number := binary.BigEndian.Uint64(d[8:])
	if r := e.in.judge(number); r != Accepted {
		e.ack = e.ack || r == Replayed // our status may have been lost
		return r
	}
	p, ok := s.rx.open(d)
	if !ok {
		return Forged
	}
	s.heard, s.confirmed = now, true
	e.ack = true
	e.unsaid++
	gap := false
	if number != e.in.next {
		gap = number > e.in.high
		e.in.hold(number, p)
	} else {
		e.in.pass()
		e.apply(s, p, now)
		for p, ok := e.in.early(); ok; p, ok = e.in.early() {
			e.in.pass()
			e.apply(s, p, now)
		}
	}
	if gap || e.unsaid >= window/32 {
		e.say(now)
	}
	return Accepted
}

// A status is what each side says of itself, at least five times per Silence and
// soon after data arrived: flags (1 byte), 3 zeros, want (4), the number up to
// which all has arrived (8), and what has arrived after that, a bit each in words
// of 64. Later ones replace earlier ones, so they are never sent again.
const (
	statusActive  = 1 << iota
	statusSynced  // it has the whole table of the active
	statusLeaving // it ends the session
	statusTaking
	statusYielding
	statusCalling

	statusLen = 16
)

// say sends a status.
func (e *engine) say(now flow.Tick) { e.sayFlags(0, now) }

func (e *engine) sayFlags(flags byte, now flow.Tick) {
	s := e.session
	if e.active {
		flags |= statusActive
	}
	if s.synced {
		flags |= statusSynced
	}
	if e.taking {
		flags |= statusTaking
	}
	if e.yielding {
		flags |= statusYielding
	}
	if e.taking && e.calling {
		flags |= statusCalling
	}
	b := e.status[:headerLen]
	b = append(b, flags, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, s.want)
	b = binary.BigEndian.AppendUint64(b, e.in.next)
	b = e.in.bitmap(b)
	s.said++
	s.spoke = now
	e.ack, e.unsaid = false, 0
	e.put(s.tx.seal(b, kindStatus, s.said))
}

// put transmits something of the session.
func (e *engine) put(d []byte) {
	e.totals.bytesOut += uint64(len(d))
	e.totals.datagramsOut++
	e.stream.budget -= int64(len(d))
	e.transmit(d)
}

func (e *engine) receiveStatus(s *session, d []byte, now flow.Tick) Reason {
	number := binary.BigEndian.Uint64(d[8:])
	if number <= s.heardNumber {
		return Replayed
	}
	p, ok := s.rx.open(d)
	if !ok {
		return Forged
	}
	if len(p) < statusLen || len(p) > statusLen+window/8+8 || len(p)%8 != 0 {
		return Malformed
	}
	end, ok := e.out.confirm(binary.BigEndian.Uint64(p[8:]), p[statusLen:], func(p *parcel) { e.confirmed(p, now) })
	if !ok {
		return Malformed
	}
	s.heardNumber, s.heard, s.confirmed = number, now, true
	if p[0]&statusLeaving != 0 {
		e.end("the peer leaves", now)
		return Accepted
	}
	was := s.peerActive
	s.known, s.peerActive, s.peerSynced = true, p[0]&statusActive != 0, p[0]&statusSynced != 0
	s.peerWant = binary.BigEndian.Uint32(p[4:])
	if s.peerActive && !was && e.active {
		e.totals.clashes++
		e.cfg.Log.Warn("flowsync: both directors are active", "peer", e.cfg.Remote)
	}
	e.heardRole(s, p[0], now)
	e.mend(end, now)
	return Accepted
}

func (e *engine) confirmed(p *parcel, now flow.Tick) {
	if p.live {
		e.totals.lag = age(p.born, now)
		e.totals.worst = max(e.totals.worst, e.totals.lag)
	}
}

// mend sends again what is missing below end, where later ones have arrived.
func (e *engine) mend(end uint64, now flow.Tick) {
	for n := e.out.base; n < end; n++ {
		if p := e.out.at(n); age(p.sent, now) >= min(int32(gapWait)<<min(p.tries, 4), firstWait) {
			e.again(p, now)
		}
	}
}

// probe sends the oldest and the newest again when nothing is heard of the oldest.
// The answer tells all that is missing, if it is not just late.
func (e *engine) probe(now flow.Tick) {
	if e.out.flying() == 0 {
		return
	}
	oldest, newest := e.out.at(e.out.base), e.out.at(e.out.next-1)
	if age(oldest.sent, now) < min(int32(firstWait)<<min(oldest.tries, 4), lastWait) {
		return
	}
	e.again(oldest, now)
	if newest != oldest {
		e.again(newest, now)
	}
}

// again sends a datagram once more, within the rate.
func (e *engine) again(p *parcel, now flow.Tick) {
	if p.done || e.stream.budget <= 0 {
		return
	}
	p.sent = now
	p.tries = min(p.tries+1, 100)
	e.totals.resent++
	e.put(p.buf)
}

// tick does what is due. Call it every Batch.
func (e *engine) tick(now flow.Tick) {
	e.stream.earn(age(e.ticked, now))
	e.ticked = now
	if e.taking && !e.learns(now) {
		e.taken(now)
	}
	if e.active && !e.whole && age(e.since, now) >= ticks(e.cfg.Settle) {
		e.whole = true
	}
	s := e.session
	silence := ticks(e.cfg.Silence)
	switch {
	case s != nil && age(s.heard, now) > silence:
		e.end("nothing heard of the peer", now)
	case s != nil && max(e.out.next, s.said) >= lastNumber:
		e.end("it is old, keys are renewed", now)
	}
	if e.session == nil {
		e.stream.discard()
		e.mirrored = e.mirrored && age(e.left, now) < freshFor
		if age(e.greeted, now) >= silence/5 {
			e.greeted = now
			e.transmit(e.greeter.write(e.greeter.ready, nonce{}, 0))
		}
		return
	}
	if !s.confirmed && age(e.greeted, now) >= silence/20 {
		e.greeted = now
		e.transmit(e.greeter.write(s.local, s.remote, helloReady))
	}
	e.recheck(s, now)
	e.probe(now)
	e.pump(s, now)
	if e.ack || age(s.spoke, now) >= silence/10 || e.chatty(s) && age(s.spoke, now) >= chatGap {
		e.say(now)
	}
}

// recheck compares both sides' names with the configuration.
func (e *engine) recheck(s *session, now flow.Tick) {
	if age(e.checked, now) < recheckGap {
		return
	}
	e.checked = now
	if e.stream.names.recheck(e.cfg.Backends) {
		e.stream.owed = true
	}
	if e.mirror.names.recheck(e.cfg.Backends) && !e.active {
		e.wish(s)
	}
}

// wish asks for a pass through the whole table with the next status.
func (e *engine) wish(s *session) {
	s.want++
	e.setSynced(s, false)
	e.ack = true
}

func (e *engine) setSynced(s *session, on bool) {
	if s.synced != on {
		s.synced = on
		e.totals.changes++
	}
}

// freshFor is how long after its session a mirrored table passes for whole, in ms.
const freshFor = 10_000

// setActive changes the role.
func (e *engine) setActive(on bool, now flow.Tick) {
	was := e.taking
	e.taking, e.yielding = false, false
	if on == e.active {
		if was && e.session != nil {
			e.wish(e.session) // passes meanwhile counted for nothing, and our workers changed the table
			e.say(now)
		}
		return
	}
	e.active = on
	e.whole = on && e.mirrored
	e.since = now
	e.mirrored = false
	e.stream.on = false
	e.mirror.marking = false
	s := e.session
	if s == nil {
		return
	}
	e.setSynced(s, false)
	if !on {
		s.want++
	} else if s.peerActive {
		e.totals.clashes++
	}
	e.say(now)
}
