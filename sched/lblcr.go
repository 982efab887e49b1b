package sched

import "slices"

// lblcr is lblc with replication: a destination address has a set of servers and
// goes to the one of them with the fewest connections for its weight. When that
// one is crowded while another is half empty, or none of the set is open, wlc's
// choice joins the set. A set that did not change for a day loses its busiest
// server. Pick allocates only when a set changes.
type lblcr struct {
	servers
	ids   []string
	known *locality
}

func newLBLCR(s servers, backends []Backend, prev Scheduler) *lblcr {
	l := &lblcr{servers: s, ids: names(backends), known: newLocality()}
	if p, ok := prev.(*lblcr); ok {
		l.known.inherit(p.known, p.ids, l.ids)
	}
	return l
}

func (l *lblcr) Pick(f *Flow) int {
	now := l.known.now()
	d := l.known.find(f.Dst, now)
	var set *serverSet
	if d != nil {
		d.touch(now)
		set = d.set.Load()
	}
	i, known := l.choose(set)
	if d != nil && len(set.members) > 1 && now-set.changed > localityIdle {
		l.shrink(d, set, now)
	}
	if known || i == None {
		return i
	}
	if d == nil {
		d = l.known.learn(f.Dst, now, &serverSet{members: []int32{int32(i)}, changed: now})
	}
	if d != nil {
		d.join(int32(i), now)
	}
	return i
}

func (l *lblcr) Peek(f *Flow) int {
	var set *serverSet
	if d := l.known.find(f.Dst, l.known.now()); d != nil {
		set = d.set.Load()
	}
	i, _ := l.choose(set)
	return i
}

// choose returns the server for a set, nil for none, and whether it is one of it
// already.
func (l *lblcr) choose(set *serverSet) (i int, known bool) {
	if set != nil {
		if i := l.lightestOf(set); i != None && !l.crowded(i) {
			return i, true
		}
	}
	return l.lightest(), false
}

// lightestOf is wlc within a set.
func (l *lblcr) lightestOf(set *serverSet) int {
	best, load, weight := None, int64(0), int64(0)
	for _, m := range set.members {
		c := &l.servers[m]
		if !c.open() {
			continue
		}
		if o := c.load.overhead(); best == None || load*c.weight > o*weight {
			best, load, weight = int(m), o, c.weight
		}
	}
	return best
}

// shrink takes the server with the most connections for its weight out of the
// set. A quiesced server is left, an overloaded one is not. If another goroutine
// changed the set in the meantime, nothing happens.
func (l *lblcr) shrink(d *destination, set *serverSet, now int64) {
	worst, load, weight := None, int64(0), int64(0)
	for at, m := range set.members {
		c := &l.servers[m]
		if c.weight == 0 {
			continue
		}
		if o := c.load.overhead(); worst == None || load*c.weight < o*weight {
			worst, load, weight = at, o, c.weight
		}
	}
	if worst == None {
		return
	}
	members := slices.Delete(slices.Clone(set.members), worst, worst+1)
	d.set.CompareAndSwap(set, &serverSet{members: members, changed: now})
}

// join adds server i to the destination's set if it is not in it.
func (d *destination) join(i int32, now int64) {
	for {
		set := d.set.Load()
		if slices.Contains(set.members, i) {
			return
		}
		members := append([]int32{i}, set.members...)
		if d.set.CompareAndSwap(set, &serverSet{members: members, changed: now}) {
			return
		}
	}
}
