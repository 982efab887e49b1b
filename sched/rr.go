package sched

import "sync/atomic"

// rr is round-robin: one after the other, whatever the weights, but for the
// quiesced and the overloaded.
type rr struct {
	servers
	ids    []string
	cursor atomic.Uint32 // index of the last pick plus one; 0 before the first
}

func newRR(s servers, backends []Backend, prev Scheduler) *rr {
	r := &rr{servers: s, ids: names(backends)}
	if p, ok := prev.(*rr); ok {
		r.cursor.Store(resume(p.ids, p.cursor.Load(), r.ids))
	}
	return r
}

func (r *rr) Pick(*Flow) int {
	for {
		last := r.cursor.Load()
		i := r.next(last)
		if i == None || r.cursor.CompareAndSwap(last, uint32(i)+1) {
			return i
		}
	}
}

func (r *rr) Peek(*Flow) int { return r.next(r.cursor.Load()) }

// next finds the first open server after the one picked last, that one included
// as the very last choice.
func (r *rr) next(last uint32) int {
	for i := int(last); i < len(r.servers); i++ {
		if r.servers[i].open() {
			return i
		}
	}
	for i := range r.servers[:last] {
		if r.servers[i].open() {
			return i
		}
	}
	return None
}
