package sched

import "sync/atomic"

// wrr is weighted round-robin, pick for pick as in IPVS. It goes round the
// servers in passes. Each pass has a required weight and takes the servers that
// have at least that: from the largest weight down to 1 in steps of the
// weights' greatest common divisor.
//
// IPVS lowers the required weight pass by pass even while all heavy servers are
// overloaded, which can take 65535 rounds for a single pick. Here the passes that
// would find nobody are skipped; TestWRRTwin holds it against the plain loop.
type wrr struct {
	servers
	ids  []string
	top  uint32 // required weight of the first pass
	step uint32 // what each pass lowers it by
	// mark is the index of the last pick plus one (0: a pass begins) in the
	// upper half, the required weight in the lower.
	mark atomic.Uint64
}

func newWRR(s servers, backends []Backend, prev Scheduler) *wrr {
	w := &wrr{servers: s, ids: names(backends)}
	var largest, g int64
	for i := range s {
		largest = max(largest, s[i].weight)
		g = gcd(g, s[i].weight)
	}
	if largest == 0 {
		return w
	}
	w.step = uint32(g)
	w.top = uint32(largest - (g - 1))
	// IPVS learns its servers one by one, and with the first alone the required
	// weight is 1. It keeps that, so the first pass takes every server.
	cursor, need := uint32(0), uint32(1)
	if p, ok := prev.(*wrr); ok && p.top > 0 {
		last, kept := unpack(p.mark.Load())
		cursor = resume(p.ids, last, w.ids)
		need = w.fit(kept)
	}
	w.mark.Store(pack(cursor, need))
	return w
}

func (w *wrr) Pick(*Flow) int {
	for {
		mark := w.mark.Load()
		i, next := w.next(mark)
		if next == mark || w.mark.CompareAndSwap(mark, next) {
			return i
		}
	}
}

func (w *wrr) Peek(*Flow) int {
	i, _ := w.next(w.mark.Load())
	return i
}

// next returns whom to pick and the mark after that.
func (w *wrr) next(mark uint64) (int, uint64) {
	if w.top == 0 {
		return None, mark
	}
	cursor, need := unpack(mark)
	// The rest of the pass that is under way.
	for i := int(cursor); i < len(w.servers); i++ {
		if s := &w.servers[i]; s.weight >= int64(need) && s.open() {
			return i, pack(uint32(i)+1, need)
		}
	}
	for {
		var heaviest int64
		for i := range w.servers {
			if s := &w.servers[i]; s.weight > heaviest && s.open() {
				heaviest = s.weight
			}
		}
		if heaviest == 0 {
			// Where IPVS's loop stands when it gives up.
			if cursor != 0 && need <= w.step {
				return None, mark
			}
			return None, pack(0, w.top)
		}
		// The next pass that finds somebody is the first that requires no more
		// than the heaviest open server has.
		pass := w.lower(need)
		if over := int64(pass) - heaviest; over > 0 {
			step := int64(w.step)
			pass -= uint32((over + step - 1) / step * step)
		}
		for i := range w.servers {
			if s := &w.servers[i]; s.weight >= int64(pass) && s.open() {
				return i, pack(uint32(i)+1, pass)
			}
		}
		// The heaviest closed between the two looks: look again.
	}
}

// fit brings the required weight of an older scheduler onto this one's steps.
func (w *wrr) fit(need uint32) uint32 {
	switch {
	case need > w.top:
		return w.top
	case w.step > 1:
		return need/w.step*w.step + 1
	}
	return need
}

// lower is the required weight of the pass after one that required need.
func (w *wrr) lower(need uint32) uint32 {
	if need <= w.step {
		return w.top
	}
	return need - w.step
}

func pack(cursor, need uint32) uint64 { return uint64(cursor)<<32 | uint64(need) }

func unpack(mark uint64) (cursor, need uint32) { return uint32(mark >> 32), uint32(mark) }

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
