package provision

import (
	"sync"
	"time"
)

// buckets bounds how often something may happen, for each key by itself: rate times a
// second, burst at once. It knows at most room keys; the others share one bucket, so
// that a flood of invented keys costs neither memory nor the known ones' rate.
type buckets[K comparable] struct {
	rate, burst float64
	room        int

	mu     sync.Mutex
	by     map[K]*bucket
	common bucket
	swept  time.Time
}

type bucket struct {
	tokens float64
	last   time.Time
}

func newBuckets[K comparable](rate, burst float64, room int) *buckets[K] {
	return &buckets[K]{rate: rate, burst: burst, room: room, by: make(map[K]*bucket), common: bucket{tokens: burst}}
}

// take tells whether key may now.
func (b *buckets[K]) take(key K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.by[key]
	if at == nil {
		if len(b.by) >= b.room {
			b.forget(now)
		}
		if len(b.by) >= b.room {
			at = &b.common
		} else {
			at = &bucket{tokens: b.burst, last: now}
			b.by[key] = at
		}
	}
	return b.draw(at, now)
}

func (b *buckets[K]) draw(at *bucket, now time.Time) bool {
	if passed := now.Sub(at.last).Seconds(); passed > 0 {
		at.tokens = min(b.burst, at.tokens+passed*b.rate)
		at.last = now
	}
	if at.tokens < 1 {
		return false
	}
	at.tokens--
	return true
}

// forget drops the keys whose buckets are full again: they are as good as new. It
// looks through all of them at most once a second.
func (b *buckets[K]) forget(now time.Time) {
	if now.Sub(b.swept) < time.Second {
		return
	}
	b.swept = now
	for key, at := range b.by {
		if at.tokens+now.Sub(at.last).Seconds()*b.rate >= b.burst {
			delete(b.by, key)
		}
	}
}
