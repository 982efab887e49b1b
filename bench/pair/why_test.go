package pair

import "context"

// reasons counts what the running directors' workers decided.
func (r *rig) reasons() map[string]uint64 {
	all := map[string]uint64{}
	for i := range r.EDS {
		s, err := r.apis[i].Status(context.Background())
		if err != nil {
			continue // it has ended
		}
		for _, w := range s.Workers {
			for reason, n := range w.Reasons {
				all[r.EDS[i].Name()+" "+reason] += n
			}
			all[r.EDS[i].Name()+" ring full"] += w.Dropped
			all[r.EDS[i].Name()+" not sent"] += w.Busy + w.Errors
		}
	}
	return all
}

// changed is what was counted in between.
func changed(before, after map[string]uint64) map[string]uint64 {
	diff := map[string]uint64{}
	for what, n := range after {
		if n > before[what] {
			diff[what] = n - before[what]
		}
	}
	return diff
}
