package push

import (
	"context"
	"slices"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// repair frees machines that another push left between two generations. Where one
// machine has confirmed that generation the others confirm it, too; else all go back.
func (r *run) repair(ctx context.Context, directors, servers []*node) error {
	stuck := func(nodes []*node, g uint64) (some []*node) {
		for _, n := range nodes {
			if hangsIn(&n.report.State, r.p.Stamp) == g {
				some = append(some, n)
			}
		}
		return some
	}
	var all []uint64
	for _, n := range slices.Concat(directors, servers) {
		if g := hangsIn(&n.report.State, r.p.Stamp); g != 0 && !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	slices.Sort(all)
	for _, g := range all {
		v := Rollback
		if slices.ContainsFunc(slices.Concat(r.directors, r.servers), func(n *node) bool {
			return !n.skipped() && n.report != nil && n.report.Confirmed == g
		}) {
			v = Confirm
		}
		r.p.Log.Info("an earlier push was not ended", "generation", g, "verb", v)
		var switched []*node
		for _, n := range stuck(directors, g) {
			if v == Rollback || n.report.Phase == machine.Switched {
				switched = append(switched, n)
			}
		}
		if err := each(switched, func(n *node) error { return r.verb(ctx, n, v, g) }); err != nil {
			return err
		}
		switched = nil
		for _, n := range stuck(servers, g) {
			if v == Rollback || n.report.Phase == machine.Switched {
				switched = append(switched, n)
			}
		}
		if err := r.sum(r.relay(ctx, switched, v, g)); err != nil {
			return err
		}
	}
	return nil
}

// hangsIn is the generation that a machine is staged for or switched to, without having
// confirmed it, when that isn't this push's own; 0: none.
func hangsIn(s *machine.State, own render.Stamp) uint64 {
	switch {
	case s.Phase == machine.Switched && s.Current != nil && *s.Current != own:
		return s.Current.Generation
	case s.Staged != nil && *s.Staged != own:
		return s.Staged.Generation
	}
	return 0
}
