package sched

// sed is shortest expected delay: the server on which the new connection would
// make the established ones fewest for the weight. It fills fast servers first.
type sed struct{ servers }

func (s *sed) Pick(f *Flow) int { return s.Peek(f) }

func (s *sed) Peek(*Flow) int {
	best, load, weight := None, int64(0), int64(0)
	for i := range s.servers {
		c := &s.servers[i]
		if !c.open() {
			continue
		}
		if o := c.load.Active() + 1; best == None || load*c.weight > o*weight {
			best, load, weight = i, o, c.weight
		}
	}
	return best
}
