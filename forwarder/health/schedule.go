package health

import (
	"hash/fnv"
	"math/bits"
	"time"
)

// firstWithin bounds how long a new target waits for its first check, however
// long its interval is: until then nobody knows whether the server lives, and a
// director that starts gives it no new connection.
const firstWithin = 200 * time.Millisecond

// phase returns where in the interval the checks of a key fall, 0 <= phase <
// interval. It depends on nothing else, so a restart or reload does not bunch
// the checks together.
func phase(key string, interval time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(key))
	x := h.Sum64()
	// FNV leaves the high bits of short keys alike; mix them before scaling.
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	hi, _ := bits.Mul64(x, uint64(interval))
	return time.Duration(hi)
}

// firstDue returns when the first check of a target set at now begins.
func firstDue(now time.Time, key string, interval time.Duration) time.Time {
	return now.Add(phase(key, min(interval, firstWithin)))
}

// nextDue returns when the check after the one begun at begun begins: on the
// key's grid (epoch + phase + n * interval), at the first point that is more than
// half an interval later. So the checks of one target are one interval apart,
// the second one between half and one and a half after the first, and a check
// that began late does not shift those after it. The result may lie before the
// check's end, then the next one begins at once.
func nextDue(epoch, begun time.Time, key string, interval time.Duration) time.Time {
	grid := epoch.Add(phase(key, interval))
	after := begun.Add(interval / 2).Sub(grid)
	n := after / interval
	if after < 0 {
		n = -1
	}
	return grid.Add((n + 1) * interval)
}
