package ha

import "time"

type verdict uint8

const (
	ours verdict = iota
	theirs
	undecided
)

// rank compares another active with this one (RFC 9568 section 6.4.3): by
// priority, then by primary address, the greater one wins.
//
// A director has several addresses, and on two networks they may rank
// differently: each side would yield on one of them, or neither. So
// authenticated directors compare their canonical addresses; plain ones use the
// first path on which the tie was heard lately, and other paths do not decide.
func (m *Machine) rank(now time.Duration, r Received) verdict {
	switch p := m.Priority(); {
	case r.Priority > p:
		return theirs
	case r.Priority < p:
		return ours
	}
	sender, local := r.Sender, r.Local
	if r.Node.IsValid() && m.cfg.Node.IsValid() {
		sender, local = r.Node, m.cfg.Node
	} else if r.Path >= 0 && r.Path < maxPaths {
		m.tieHeard[r.Path] = now
		for _, t := range m.tieHeard[:r.Path] {
			if t != 0 && now-t <= 2*m.downInterval() {
				return undecided
			}
		}
	}
	if sender.Compare(local) > 0 {
		return theirs
	}
	return ours
}
