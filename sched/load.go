package sched

import "sync/atomic"

// Load counts one backend's connections. All methods are safe for concurrent
// use. It fills a cache line of its own, so that two busy backends do not share one.
type Load struct {
	active, inactive atomic.Int64
	upper, lower     atomic.Int64
	overloaded       atomic.Bool
	_                [28]byte
}

// Active returns the number of established connections (IPVS: ActiveConn).
func (l *Load) Active() int64 { return l.active.Load() }

// Inactive returns the number of connections in any other state (IPVS: InActConn).
func (l *Load) Inactive() int64 { return l.inactive.Load() }

// Overloaded tells whether the backend reached its upper threshold and has not
// yet come down to the lower one. It then gets no new connection.
func (l *Load) Overloaded() bool { return l.overloaded.Load() }

// Thresholds returns the bounds set last.
func (l *Load) Thresholds() (upper, lower int64) { return l.upper.Load(), l.lower.Load() }

// SetThresholds sets the bounds in connections. upper 0 means no bound; lower 0
// means three quarters of upper, as in IPVS.
func (l *Load) SetThresholds(upper, lower int64) {
	l.upper.Store(upper)
	l.lower.Store(lower)
	l.judge()
}

// Add changes the counts: a new connection adds 1, an ended one adds -1, one
// that changes class adds 1 to the one and -1 to the other.
func (l *Load) Add(active, inactive int64) {
	if active != 0 {
		l.active.Add(active)
	}
	if inactive != 0 {
		l.inactive.Add(inactive)
	}
	if active+inactive != 0 {
		l.judge()
	}
}

// judge follows ip_vs_dest_update_overload: on at upper, off below lower.
func (l *Load) judge() {
	upper := l.upper.Load()
	if upper == 0 {
		if l.overloaded.Load() {
			l.overloaded.Store(false)
		}
		return
	}
	total := l.active.Load() + l.inactive.Load()
	lower := l.lower.Load()
	switch {
	case total >= upper:
		if !l.overloaded.Load() {
			l.overloaded.Store(true)
		}
	case lower != 0 && total < lower, lower == 0 && total*4 < upper*3:
		if l.overloaded.Load() {
			l.overloaded.Store(false)
		}
	}
}
