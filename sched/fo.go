package sched

// fo is weighted failover: all connections to the server of the largest weight
// that is there, the first of equals.
type fo struct{ servers }

func (o *fo) Pick(f *Flow) int { return o.Peek(f) }

func (o *fo) Peek(*Flow) int {
	best, weight := None, int64(0)
	for i := range o.servers {
		if c := &o.servers[i]; c.weight > weight && c.open() {
			best, weight = i, c.weight
		}
	}
	return best
}
