package flowsync

import (
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// A planned handover is a talk of the two ends, in flags of their statuses:
//
//	taker: taking     it forwards, asks the other one to fall silent, and still learns
//	giver: yielding   it answers for the VIPs no more, but forwards what still comes
//	taker: calling    it has called the clients
//	giver: not active it forwards no more, and all that it learned has been confirmed
//	taker: active     it learns no more
//
// Each step has a bound, so that a peer that died, or is of a release without
// these flags, holds nothing up for long. In milliseconds.
const (
	learnQuiet = 250  // without a word of the giver: it has died
	learnGone  = 100  // the same when its host says that nobody listens there
	learnMost  = 1000 // whatever the giver says
	yieldQuiet = 30   // without a word of the giver, who answers at once
	yieldMost  = 300
	aliveGap   = 150 // a peer that lives says something every 100 ms at least
	chatGap    = 5   // between statuses meanwhile
)

// take begins to take over from a peer that is active.
func (e *engine) take(now flow.Tick) {
	if e.active || e.taking {
		return
	}
	e.taking, e.calling, e.takenAt, e.refused = true, false, now, false
	e.mirror.marking = false // from now on our own workers put in what the peer doesn't have
	if !e.learns(now) {
		e.taken(now)
		return
	}
	e.say(now)
}

// taken ends it: this end is the active one.
func (e *engine) taken(now flow.Tick) {
	e.setActive(true, now)
	if e.cfg.OnTaken != nil {
		e.cfg.OnTaken()
	}
}

// quiet is how long nothing was heard of the peer since we began to take over.
func (e *engine) quiet(now flow.Tick) int32 {
	return min(age(e.session.heard, now), age(e.takenAt, now))
}

// learns tells whether the giver's last word may still come.
func (e *engine) learns(now flow.Tick) bool {
	s := e.session
	if !e.taking || s == nil || !s.peerActive || age(e.takenAt, now) >= learnMost {
		return false
	}
	quiet := int32(learnQuiet)
	if e.refused {
		quiet = learnGone
	}
	return e.quiet(now) < quiet
}

// unyielding tells whether the giver lives and may still answer for the VIPs.
func (e *engine) unyielding(now flow.Tick) bool {
	s := e.session
	return e.learns(now) && !s.peerYielding && !e.refused &&
		age(s.heard, now) < aliveGap && e.quiet(now) < yieldQuiet && age(e.takenAt, now) < yieldMost
}

// yield begins to give the role away.
func (e *engine) yield(now flow.Tick) {
	if e.active && !e.yielding {
		e.yielding = true
		if e.session != nil {
			e.say(now)
		}
	}
}

// call says that the clients have been called.
func (e *engine) call(now flow.Tick) {
	if e.taking && !e.calling {
		e.calling = true
		if e.session != nil {
			e.say(now)
		}
	}
}

// uncalled tells whether the taker lives and has not called the clients yet.
func (e *engine) uncalled() bool {
	s := e.session
	return e.yielding && s != nil && s.known && !s.peerCalling && !s.peerActive
}

// heardRole takes over what a status says of the handover.
func (e *engine) heardRole(s *session, flags byte, now flow.Tick) {
	began := flags&statusTaking != 0 && !s.peerTaking
	yielded := flags&statusYielding != 0 && !s.peerYielding
	s.peerTaking, s.peerYielding, s.peerCalling = flags&statusTaking != 0, flags&statusYielding != 0, flags&statusCalling != 0
	switch {
	case e.taking && !e.learns(now):
		e.taken(now)
	case began:
		e.say(now) // the taker waits for an answer
	}
	if yielded && !e.yielding && e.cfg.OnYield != nil {
		e.cfg.OnYield()
	}
}

// chatty tells whether the peer waits for what we say.
func (e *engine) chatty(s *session) bool { return e.taking || e.yielding || s.peerTaking }

// handoverTick is how often both ends look round during a handover: what the
// giver's workers change is told at once.
const handoverTick = time.Millisecond

// attend ticks until done, which is asked under the lock.
func (s *Sync) attend(done func() bool) {
	tick := time.NewTicker(handoverTick)
	defer tick.Stop()
	for {
		s.mu.Lock()
		s.e.tick(s.cfg.Now())
		ok := done()
		s.tell()
		s.mu.Unlock()
		if ok {
			return
		}
		<-tick.C
	}
}

// Take begins SetActive(true) for a director that forwards already: what the other
// one says is still taken until that one has given its role away, its last word
// included, or is not heard any more, at most a second. Then this end is active,
// and Config.OnTaken is called; at once if there is nobody to take over from.
func (s *Sync) Take() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.take(s.cfg.Now())
	s.tell()
}

// AwaitYield waits after Take until the other director answers for the VIPs no
// more, or isn't heard: now the clients may be called. It waits 0.3 s at most, and
// the other one forwards meanwhile.
func (s *Sync) AwaitYield() { s.attend(func() bool { return !s.e.unyielding(s.cfg.Now()) }) }

// Called tells the other director, after AwaitYield, that the clients were called.
func (s *Sync) Called() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.call(s.cfg.Now())
}

// Yield tells the other director that this one answers for the VIPs no more. It
// returns a time linger after the other one has called the clients, or is not
// there, or wait is over, and tells of every change at once meanwhile. Then stop forwarding, Flush,
// and SetActive(false).
func (s *Sync) Yield(wait, linger time.Duration) {
	s.mu.Lock()
	s.e.yield(s.cfg.Now())
	s.mu.Unlock()
	over := time.Now().Add(wait)
	s.attend(func() bool { return !s.e.uncalled() || !time.Now().Before(over) })
	over = time.Now().Add(linger)
	s.attend(func() bool { return !time.Now().Before(over) })
}
