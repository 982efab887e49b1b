package sched

// nq is never queue: the first server without an established connection, else
// the one that sed would take.
type nq struct{ servers }

func (n *nq) Pick(f *Flow) int { return n.Peek(f) }

func (n *nq) Peek(*Flow) int {
	best, load, weight := None, int64(0), int64(0)
	for i := range n.servers {
		c := &n.servers[i]
		if !c.open() {
			continue
		}
		o := c.load.Active() + 1
		if o <= 1 {
			return i
		}
		if best == None || load*c.weight > o*weight {
			best, load, weight = i, o, c.weight
		}
	}
	return best
}
