package sched

// lc is least-connection: the server with the fewest connections, an
// established one counting 256 times, whatever the weights.
type lc struct{ servers }

func (l *lc) Pick(f *Flow) int { return l.Peek(f) }

func (l *lc) Peek(*Flow) int {
	best, least := None, int64(0)
	for i := range l.servers {
		s := &l.servers[i]
		if !s.open() {
			continue
		}
		if o := s.load.overhead(); best == None || o < least {
			best, least = i, o
		}
	}
	return best
}
