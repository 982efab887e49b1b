package sched

import "math/rand/v2"

// twos is the power of two choices: of two servers drawn at random by weight,
// the one with fewer connections for its weight, an established one counting 256
// times.
//
// Peek draws too: it returns a sample of what Pick may return, not what the next
// Pick will.
//
// One thing differs from IPVS, which draws a number too many and gives it to the
// first server (of two servers of weight 1 it draws the first twice as often).
// Here the draw is fair.
type twos struct{ servers }

func (t *twos) Peek(f *Flow) int { return t.Pick(f) }

func (t *twos) Pick(*Flow) int {
	total := int64(0)
	for i := range t.servers {
		if c := &t.servers[i]; c.open() {
			total += c.weight
		}
	}
	if total == 0 {
		return None
	}
	a := t.at(rand.Int64N(total))
	b := t.at(rand.Int64N(total))
	switch {
	case a == None:
		return b
	case b == None || a == b:
		return a
	}
	ca, cb := &t.servers[a], &t.servers[b]
	if ca.load.overhead()*cb.weight > cb.load.overhead()*ca.weight {
		return b
	}
	return a
}

// at returns the server whose share of the open weight contains n. If servers
// closed since the total was taken n may lie beyond; then the last one open is as
// good as any.
func (t *twos) at(n int64) int {
	last := None
	for i := range t.servers {
		c := &t.servers[i]
		if !c.open() {
			continue
		}
		last = i
		if n -= c.weight; n < 0 {
			break
		}
	}
	return last
}
