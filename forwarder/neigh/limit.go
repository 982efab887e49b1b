package neigh

import "time"

// bucket is a token bucket. The zero value is full at its first use.
type bucket struct {
	tokens float64
	last   time.Time
}

func (b *bucket) refill(now time.Time, perSecond, burst float64) {
	switch d := now.Sub(b.last); {
	case b.last.IsZero():
		b.tokens = burst
	case d > 0:
		b.tokens = min(burst, b.tokens+d.Seconds()*perSecond)
	default:
		return
	}
	b.last = now
}

func (b *bucket) take(now time.Time, perSecond, burst float64) bool {
	b.refill(now, perSecond, burst)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

const (
	answerRate, answerBurst = 1000, 1000 // all answers
	askerRate, askerBurst   = 100, 512   // answers to one asking MAC address
	askers                  = 1024       // buckets for them; hosts may share one
)

// limiter bounds answers, first by who asks, then altogether.
type limiter struct {
	all   bucket
	asker [askers]bucket
}

func (l *limiter) allow(now time.Time, mac [6]byte) bool {
	h := uint32(2166136261) // FNV-1a; a clash only makes two hosts share a bucket
	for _, b := range mac {
		h = (h ^ uint32(b)) * 16777619
	}
	return l.asker[(h^h>>16)%askers].take(now, askerRate, askerBurst) && l.all.take(now, answerRate, answerBurst)
}
