package ha

import "time"

// SkewTime is RFC 9568's Skew_Time: the lower the priority, the longer a backup
// waits beyond three intervals.
func SkewTime(priority uint8, interval time.Duration) time.Duration {
	return time.Duration(256-int(priority)) * interval / 256
}

// ActiveDownInterval is RFC 9568's Active_Down_Interval: how long an active
// router may be silent.
func ActiveDownInterval(priority uint8, interval time.Duration) time.Duration {
	return 3*interval + SkewTime(priority, interval)
}

// GoneInterval is how long an active router must have been silent on all paths
// when its process is said to have ended: long enough for the advertisement that
// it would have sent, and for that to be late.
func GoneInterval(priority uint8, interval time.Duration) time.Duration {
	return interval + max(SkewTime(priority, interval), interval/2)
}

// StallLimit is how late a timer may be before the machine believes that its own
// process stood still: as long as the peers wait (down), at least 200 ms, since
// schedulers of busy hosts are late by tens of milliseconds.
func StallLimit(down time.Duration) time.Duration { return max(down, 200*time.Millisecond) }

// LeaveTime is how long a director that gives its role away keeps forwarding
// while nobody has taken it. A backup takes it after its Skew_Time, which is
// shorter than one interval; the goodbye is repeated every interval. A backup that
// hears none of them takes it after its down interval, which is at most four. A
// shutdown never waits longer than 5 s.
func LeaveTime(interval time.Duration) time.Duration {
	return min(4*interval+interval/2, 5*time.Second)
}
