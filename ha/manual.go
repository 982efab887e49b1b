package ha

import "time"

func (m *Machine) takeover(now time.Duration) {
	switch {
	case m.state == Initialize || m.leaving == leaveShutdown:
		m.report(TakeoverMoot, "not running")
		return
	case m.track.Fault != "":
		m.report(TakeoverMoot, "not while there is a fault: %s", m.track.Fault)
		return
	}
	m.released = false
	m.raise = 0
	if m.state == Active {
		if m.leaving != staying {
			m.leaving = staying
			m.send()
			m.setTimer(now + m.cfg.Interval)
		}
		return
	}
	if p := m.Priority(); p <= m.peerPrio {
		if m.peerPrio >= 254 {
			m.report(TakeoverMoot, "the peer's priority %d cannot be outranked: release it there", m.peerPrio)
			return
		}
		m.raise = m.peerPrio + 1
	}
	m.holdUntil = 0
	m.becomeActive(now, "taken over by hand")
}

func (m *Machine) release(now time.Duration) {
	m.raise = 0
	m.released = true
	if m.state == Active && m.leaving == staying {
		m.startLeaving(now, leaveRelease)
	}
}

func (m *Machine) leave(now time.Duration) {
	if m.state != Active {
		m.do(Left{})
		return
	}
	if m.leaving == staying {
		m.startLeaving(now, leaveShutdown)
	}
	m.leaving = leaveShutdown
}

func (m *Machine) tracked(now time.Duration, t Track) {
	had := m.track.Fault
	m.track = t
	switch {
	case m.state == Active && t.Fault != "":
		if m.leaving == staying {
			m.startLeaving(now, leaveFault)
		} else if m.leaving == leaveRelease {
			m.leaving = leaveFault
		}
	case m.state == Active && had != "" && m.leaving == leaveFault:
		m.leaving = staying // it went before anybody took over
		m.send()
		m.setTimer(now + m.cfg.Interval)
	case m.state == Backup && had != "" && t.Fault == "":
		m.setTimer(now + m.downInterval()) // listen first
	}
}

// startLeaving says goodbye and keeps forwarding until the peer is heard: so a
// planned handover has no gap.
func (m *Machine) startLeaving(now time.Duration, why leave) {
	m.leaving = why
	m.leaveEnd = now + LeaveTime(m.cfg.Interval)
	m.do(Send{0, m.cfg.Interval})
	m.setTimer(min(now+m.cfg.Interval, m.leaveEnd))
}

func (m *Machine) leaveTick(now time.Duration) {
	if now < m.leaveEnd {
		// Not sooner than an interval after the first: a goodbye restarts the
		// backup's Skew_Time.
		m.do(Send{0, m.cfg.Interval})
		m.setTimer(min(now+m.cfg.Interval, m.leaveEnd))
		return
	}
	if m.leaving == leaveRelease {
		m.leaving = staying
		m.report(NobodyTook, "nobody took the role over: still active, with priority %d", m.Priority())
		m.send()
		m.setTimer(now + m.cfg.Interval)
		return
	}
	m.left(now, m.cfg.Interval, "nobody heard")
}

// left ends the forwarding of a director that gave its role away.
func (m *Machine) left(now, adv time.Duration, why string) {
	was := m.leaving
	switch was {
	case leaveRelease:
		why = "released: " + why
	case leaveFault:
		why = "fault (" + m.track.Fault + "): " + why
	case leaveShutdown:
		why = "shutting down: " + why
	}
	m.becomeBackup(now, adv, why)
	if was == leaveShutdown {
		m.become(now, Initialize)
		m.setTimer(0)
		m.do(Left{})
	}
}

func (m *Machine) foreign(now time.Duration, f ForeignAnnounce) {
	if m.state != Active || m.leaving != staying {
		return
	}
	m.report(ForeignVIP, "%s claims %s while this director is active", f.From, f.VIP)
	if m.assertedAt == 0 || now-m.assertedAt >= m.cfg.Interval {
		m.assertedAt = now
		m.send()
		m.do(Announce{})
	}
}
