package sched

import "sync/atomic"

// Load counts one backend's connections. All methods are safe for concurrent
// use. It fills a cache line of its own, so that two busy backends do not share
// one. The zero value is ready: no connections, no bounds.
type Load struct {
	// counts is active<<32 + inactive in one word: a connection that changes
	// class then never shows up in both or in neither, which could push the
	// total over a threshold for a moment.
	counts       atomic.Int64
	upper, lower atomic.Int64
	overloaded   atomic.Bool
	_            [36]byte
}

// Active returns the number of established connections (IPVS: ActiveConn).
func (l *Load) Active() int64 {
	active, _ := l.split()
	return active
}

// Inactive returns the number of connections in any other state (IPVS: InActConn).
func (l *Load) Inactive() int64 {
	_, inactive := l.split()
	return inactive
}

// Overloaded tells whether the backend reached its upper threshold and has not
// yet come down to the lower one. It then gets no new connection.
func (l *Load) Overloaded() bool { return l.overloaded.Load() }

// Thresholds returns the bounds set last, in connections.
func (l *Load) Thresholds() (upper, lower int64) { return l.upper.Load(), l.lower.Load() }

// SetThresholds sets the bounds in connections. upper 0 means no bound; lower 0
// means three quarters of upper, as in IPVS. The present counts are judged by
// the new bounds at once.
func (l *Load) SetThresholds(upper, lower int64) {
	l.upper.Store(upper)
	l.lower.Store(lower)
	l.judge()
}

// Add changes the counts: a new connection adds 1, an ended one adds -1, one
// that changes class adds 1 to the one and -1 to the other in the same call.
// Each count stays below 2^31.
func (l *Load) Add(active, inactive int64) {
	l.counts.Add(active<<32 + inactive)
	if active+inactive != 0 {
		l.judge()
	}
}

// split takes the two counts apart. The lower half is signed, so that a -1 that
// overtakes its +1 on another CPU shows as -1 and borrows nothing from the other.
func (l *Load) split() (active, inactive int64) {
	v := l.counts.Load()
	inactive = int64(int32(v))
	return (v - inactive) >> 32, inactive
}

// overhead is IPVS's measure of the work a backend has: an established
// connection counts as 256 others.
func (l *Load) overhead() int64 {
	active, inactive := l.split()
	return active<<8 + inactive
}

// judge follows ip_vs_dest_update_overload: on at upper, off below lower, as it
// was in between.
//
// Whoever changes the flag looks at the counts once more. Otherwise the flag
// set by a slow goroutine could outlive the connections that justified it, and
// an empty backend would stay closed for ever.
func (l *Load) judge() {
	for {
		was := l.overloaded.Load()
		want := was
		active, inactive := l.split()
		total := active + inactive
		upper, lower := l.upper.Load(), l.lower.Load()
		if lower == 0 {
			lower = upper - upper>>2
		}
		switch {
		case upper == 0:
			want = false
		case total >= upper:
			want = true
		case total < lower:
			want = false
		}
		if want == was {
			return
		}
		l.overloaded.Store(want)
	}
}
