package sched

// wlc is weighted least-connection: the server with the fewest connections for
// its weight, an established one counting 256 times. The first wins a draw.
type wlc struct{ servers }

func (w *wlc) Pick(*Flow) int { return w.lightest() }
func (w *wlc) Peek(*Flow) int { return w.lightest() }

// lightest is wlc's choice; lblc and lblcr use it for destinations they do not
// know. Loads over weights are compared by cross-multiplication.
func (s servers) lightest() int {
	best, load, weight := None, int64(0), int64(0)
	for i := range s {
		c := &s[i]
		if !c.open() {
			continue
		}
		if o := c.load.overhead(); best == None || load*c.weight > o*weight {
			best, load, weight = i, o, c.weight
		}
	}
	return best
}
