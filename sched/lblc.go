package sched

// lblc is locality-based least-connection, for caches: a destination address
// stays with the server that it was first given, which wlc chose, until that one
// is quiesced, gone, overloaded, or crowded while another is half empty. Pick
// allocates only when it learns a destination.
//
// IPVS lets a server beyond its upper threshold keep the destinations it has;
// here the threshold holds for every scheduler.
type lblc struct {
	servers
	ids   []string
	known *locality
	alone []serverSet // by index: the set of that server alone
}

func newLBLC(s servers, backends []Backend, prev Scheduler) *lblc {
	l := &lblc{servers: s, ids: names(backends), known: newLocality(), alone: make([]serverSet, len(s))}
	for i := range l.alone {
		l.alone[i].members = []int32{int32(i)}
	}
	if p, ok := prev.(*lblc); ok {
		l.known.inherit(p.known, p.ids, l.ids)
	}
	return l
}

func (l *lblc) Pick(f *Flow) int {
	now := l.known.now()
	d := l.known.find(f.Dst, now)
	if d != nil {
		d.touch(now)
	}
	i, known := l.choose(d)
	if known || i == None {
		return i
	}
	if d == nil {
		d = l.known.learn(f.Dst, now, &l.alone[i])
	}
	if d != nil {
		d.set.Store(&l.alone[i])
	}
	return i
}

func (l *lblc) Peek(f *Flow) int {
	i, _ := l.choose(l.known.find(f.Dst, l.known.now()))
	return i
}

// choose returns the server for what is known of a destination, and whether it
// is the one it has already.
func (l *lblc) choose(d *destination) (i int, known bool) {
	if d != nil {
		if i := int(d.set.Load().members[0]); l.servers[i].open() && !l.crowded(i) {
			return i, true
		}
	}
	return l.lightest(), false
}
