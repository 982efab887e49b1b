package ha

import "time"

// Step tells the machine what happened at the time now and returns what to do,
// in order. now never runs backwards and is never 0. The slice is valid until
// the next Step. Apart from what docs/ha.md lists, transitions are those of
// RFC 9568 section 6.4.
func (m *Machine) Step(now time.Duration, ev Event) []Action {
	m.out = m.out[:0]
	if m.stalled(now) {
		m.stall(now)
		if _, late := ev.(Tick); late {
			return m.out
		}
	}
	switch ev := ev.(type) {
	case Startup:
		m.startup(now)
	case Shutdown:
		m.shutdown(now)
	case Tick:
		m.tick(now)
	case Received:
		m.received(now, ev)
	case Track:
		m.tracked(now, ev)
	case SyncReady:
		m.sync = ev.Ready
	case Takeover:
		m.takeover(now)
	case Release:
		m.release(now)
	case Leave:
		m.leave(now)
	case ForeignAnnounce:
		m.foreign(now, ev)
	case SetPriority:
		m.cfg.Priority = max(ev.Priority, 1)
	case PeerGone:
		m.peerGone(now)
	}
	if m.state != Initialize {
		m.advise()
	}
	return m.out
}

// advise reports a changed priority.
func (m *Machine) advise() {
	if p := m.Priority(); p != m.advised {
		m.report(PriorityIs, "effective priority %d, was %d", p, m.advised)
		m.advised = p
	}
}

func (m *Machine) startup(now time.Duration) {
	if m.state != Initialize {
		return
	}
	if m.Priority() == owner && m.track.Fault == "" {
		m.becomeActive(now, "owner of the addresses")
		return
	}
	m.become(now, Backup)
	m.activeAdv = m.cfg.Interval
	m.do(BecomeBackup{"started"})
	m.setTimer(now + m.downInterval())
}

func (m *Machine) shutdown(now time.Duration) {
	switch m.state {
	case Initialize:
		return
	case Active:
		m.do(Send{0, m.cfg.Interval}, BecomeBackup{"shut down"})
	}
	m.become(now, Initialize)
	m.setTimer(0)
}

// stalled tells whether the planned timer is so late that this process, or the
// whole machine, must have stood still.
func (m *Machine) stalled(now time.Duration) bool {
	if m.state == Initialize || m.timer == 0 {
		return false
	}
	down := m.downInterval()
	if m.state == Active {
		// The peers wait since the last advertisement, an interval before the timer.
		down -= m.cfg.Interval
	}
	return now-m.timer > StallLimit(down)
}

// stall holds: what was known is out of date. The next down interval is spent
// listening, whatever the role was.
func (m *Machine) stall(now time.Duration) {
	m.report(ClockStall, "timer %v late: this director stood still; it listens before it decides", now-m.timer)
	m.sync = false
	if m.leaving == leaveShutdown {
		m.left(now, m.cfg.Interval, "clock stalled")
		return
	}
	if m.state == Active {
		m.becomeBackup(now, m.cfg.Interval, "clock stalled")
	} else {
		m.lowerSince = 0
		m.setTimer(now + m.downInterval())
	}
	m.holdUntil = now + m.downInterval()
}

func (m *Machine) tick(now time.Duration) {
	switch {
	case m.timer == 0 || m.state == Initialize:
	case now < m.timer:
		m.setTimer(m.timer)
	case m.leaving != staying:
		m.leaveTick(now)
	case m.state == Active:
		m.send()
		if m.splitFrom != 0 && now-m.splitLast > m.downInterval() {
			m.report(SplitHealed, "the other active was last heard %v ago; two were active for %v",
				now-m.splitLast, m.splitLast-m.splitFrom)
			m.splitFrom = 0
		}
		m.setTimer(now + m.cfg.Interval)
	case m.track.Fault != "":
		m.setTimer(now + m.downInterval())
	default:
		m.becomeActive(now, "no active director heard")
	}
}

func (m *Machine) received(now time.Duration, r Received) {
	if r.Priority != 0 {
		m.peerPrio = r.Priority
	}
	switch {
	case m.state == Backup:
		m.backupHears(now, r)
	case m.state == Active && m.leaving != staying:
		if r.Priority != 0 {
			m.left(now, r.Interval, "handed over to "+r.Sender.String())
		}
	case m.state == Active:
		m.activeHears(now, r)
	}
}

func (m *Machine) backupHears(now time.Duration, r Received) {
	m.heard = now
	switch {
	case r.Priority == 0:
		m.setTimer(now + SkewTime(m.Priority(), m.activeAdv))
		return
	case r.Priority >= m.Priority():
		m.lowerSince = 0
	case m.mayPreempt(now, r):
		return // it is not heard: the timer runs out
	}
	m.activeAdv = r.Interval
	m.setTimer(now + m.downInterval())
}

// peerGone shortens the wait. An advertisement that comes all the same restores it.
func (m *Machine) peerGone(now time.Duration) {
	if m.state != Backup || m.track.Fault != "" || now < m.holdUntil {
		return
	}
	if at := max(now, m.heard+GoneInterval(m.Priority(), m.activeAdv)); at < m.timer {
		m.setTimer(at)
	}
}

// mayPreempt decides about a lower active: RFC 9568's Preempt_Mode, with the
// delay, synchronisation and holds in front of it. The owner always preempts.
func (m *Machine) mayPreempt(now time.Duration, r Received) bool {
	if m.lowerSince == 0 || now-m.lowerLast > m.downInterval() {
		m.lowerSince, m.held, m.syncGivenUp = now, false, false
	}
	m.lowerLast = now
	waited := now - m.lowerSince
	why := ""
	switch {
	case m.track.Fault != "":
		return false
	case now < m.holdUntil:
		why = "listening after a stall"
	case m.Priority() == owner:
		return true
	case !m.cfg.Preempt:
		return false
	case waited < m.cfg.PreemptDelay:
		why = "preempt delay"
	case m.cfg.WaitForSync && !m.sync && waited < m.cfg.SyncTimeout:
		why = "connections are not synchronised yet"
	}
	if why != "" {
		if !m.held {
			m.held = true
			m.report(PreemptHeld, "%s is active with priority %d, lower than %d: %s", r.Sender, r.Priority, m.Priority(), why)
		}
		return false
	}
	if m.cfg.WaitForSync && !m.sync && !m.syncGivenUp {
		m.syncGivenUp = true
		m.report(SyncTimeout, "connections were not synchronised within %v: preempting without", m.cfg.SyncTimeout)
	}
	return true
}

func (m *Machine) activeHears(now time.Duration, r Received) {
	if r.Priority == 0 {
		m.send()
		m.setTimer(now + m.cfg.Interval)
		if m.assertedAt == 0 || now-m.assertedAt >= m.cfg.Interval {
			m.assertedAt = now
			m.do(Announce{}) // it was active, too: some may have heard it last
		}
		return
	}
	switch m.rank(now, r) {
	case undecided:
		return
	case theirs:
		m.raise = 0
		// The other one may never have heard this one, and so not know that it must
		// announce itself again.
		m.do(Send{0, m.cfg.Interval})
		m.becomeBackup(now, r.Interval, "higher active "+r.Sender.String())
		return
	}
	// A taker-over is heard once or twice while it hears us: no split yet.
	m.splitLast = now
	if m.splitFrom == 0 && now-m.since > m.cfg.Interval {
		m.splitFrom = now
		m.report(SplitBrain, "%s is active too, with priority %d (ours: %d), heard on path %d", r.Sender, r.Priority, m.Priority(), r.Path)
	}
	if m.assertedAt == 0 || now-m.assertedAt >= m.cfg.Interval {
		m.assertedAt = now
		m.send()
		m.do(Announce{})
	}
}
