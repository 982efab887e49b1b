package sched

// ovf is overflow: all connections to the server of the largest weight until it
// has more established ones than its weight, then to the next. It is nothing for
// UDP, where hardly a connection counts as established. With every server full
// it picks none.
type ovf struct{ servers }

func (o *ovf) Pick(f *Flow) int { return o.Peek(f) }

func (o *ovf) Peek(*Flow) int {
	best, weight := None, int64(0)
	for i := range o.servers {
		c := &o.servers[i]
		if c.weight > weight && c.load.Active() <= c.weight && c.open() {
			best, weight = i, c.weight
		}
	}
	return best
}
