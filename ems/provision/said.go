package provision

import "time"

const (
	saidEvery = time.Minute
	saidRoom  = 256
)

// said bounds a log: a key once a minute, and at most saidRoom keys in a minute. The
// zero value is ready. Its owner locks.
type said struct {
	last  map[string]time.Time
	swept time.Time
}

func (s *said) may(key string, now time.Time) bool {
	if t, ok := s.last[key]; ok && now.Sub(t) < saidEvery {
		return false
	}
	if len(s.last) >= saidRoom {
		if now.Sub(s.swept) < saidEvery {
			return false
		}
		s.swept = now
		for k, t := range s.last {
			if now.Sub(t) >= saidEvery {
				delete(s.last, k)
			}
		}
		if len(s.last) >= saidRoom {
			return false
		}
	}
	if s.last == nil {
		s.last = make(map[string]time.Time)
	}
	s.last[key] = now
	return true
}
