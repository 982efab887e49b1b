package push

import (
	"fmt"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
)

// active is Health.Role of the director that forwards.
const active = "active"

// seen is one director's or real server's health before and after the switch.
type seen struct {
	node        string
	before, now *Health
}

// farm is what a judgement is made of. It is pure data.
type farm struct {
	cluster   *cluster.Cluster
	directors []seen
	servers   []seen
	skipped   bool            // a director was left out: the active one may be that one
	out       map[string]bool // real servers that were left out
	requireUp bool
}

// verdict lists what is wrong, and what is only worth a word.
type verdict struct{ problems, warnings []string }

func (v *verdict) wrong(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

func (v *verdict) note(format string, args ...any) {
	v.warnings = append(v.warnings, fmt.Sprintf(format, args...))
}

// judge says whether the farm is well on the new cluster file: every director forwards
// by it, one is active, no service has fewer backends up than before.
func (f *farm) judge() verdict {
	var v verdict
	f.judgeRoles(&v)
	for i := range f.cluster.Services {
		f.judgeService(&v, &f.cluster.Services[i])
	}
	for _, s := range f.servers {
		f.judgeServer(&v, s)
	}
	return v
}

func (f *farm) judgeRoles(v *verdict) {
	digest := f.cluster.Digest()
	var now, before []string
	for _, d := range f.directors {
		if d.before != nil && d.before.Role == active {
			before = append(before, d.node)
		}
		if d.now == nil {
			v.wrong("%s does not say how it is", d.node)
			continue
		}
		if d.now.Digest != digest {
			v.wrong("%s: the daemon does not forward by the new cluster file yet%s", d.node, because(d.now.Problems))
		}
		for _, p := range fresh(d.before, d.now) {
			v.note("%s: %s", d.node, p)
		}
		if d.now.Role == active {
			now = append(now, d.node)
		}
	}
	switch {
	case len(now) > 1:
		v.wrong("%s are active at the same time", strings.Join(now, " and "))
	case len(now) == 1:
	case f.skipped && len(before) == 0:
		v.note("no director that was reached is active; the one that was left out may be")
	default:
		v.wrong("no director is active")
	}
}

// judgeService compares what is up. Backends that the new file removed or quiesced
// don't count, nor do those that the push left out. A backup director's word doesn't count while an active one speaks.
func (f *farm) judgeService(v *verdict, s *cluster.Service) {
	counts := map[string]bool{}
	for _, b := range s.Servers {
		if b.Weight > 0 && !f.out[b.Name] {
			counts[b.Name] = true
		}
	}
	before, _ := up(f.directors, func(d seen) *Health { return d.before }, s.Name, counts)
	now, down := up(f.directors, func(d seen) *Health { return d.now }, s.Name, counts)
	need := len(before)
	if f.requireUp && len(counts) > 0 {
		need = max(need, 1)
	}
	switch {
	case len(now) < need:
		v.wrong("service %s has %d of the %d backends up that it needs%s", s.Name, len(now), need, because(down))
	case len(down) > 0:
		v.note("service %s: down%s", s.Name, because(down))
	}
}

// up are the backends of a service that take connections, and, with their reasons,
// those that don't, by the active director's word.
func up(all []seen, of func(seen) *Health, service string, counts map[string]bool) (live, down []string) {
	var h *Health
	for _, d := range all {
		if is := of(d); is != nil && (h == nil || is.Role == active) {
			h = is
		}
	}
	if h == nil {
		return nil, nil
	}
	for _, s := range h.Services {
		if s.Name != service {
			continue
		}
		for _, b := range s.Backends {
			switch {
			case !counts[b.Name]:
			case b.Up:
				live = append(live, b.Name)
			case b.Reason != "":
				down = append(down, b.Name+" ("+plain(b.Reason)+")")
			default:
				down = append(down, b.Name)
			}
		}
	}
	return live, down
}

// judgeServer wants the addresses of the server's services there, and no new trouble.
func (f *farm) judgeServer(v *verdict, s seen) {
	if s.now == nil {
		v.note("%s does not say how it is", s.node)
		return
	}
	for i := range f.cluster.Services {
		svc := &f.cluster.Services[i]
		uses := slices.ContainsFunc(svc.Servers, func(b cluster.Server) bool { return b.Name == s.node })
		if uses && !slices.Contains(s.now.VIPs, svc.VIP.String()) {
			v.wrong("%s has no address %s of service %s%s", s.node, svc.VIP, svc.Name, because(s.now.Problems))
		}
	}
	for _, p := range fresh(s.before, s.now) {
		v.wrong("%s: %s", s.node, p)
	}
	for _, p := range s.now.Problems {
		v.note("%s: %s", s.node, plain(p))
	}
}

// fresh are the problems that weren't there before.
func fresh(before, now *Health) (some []string) {
	for _, p := range now.Problems {
		if before == nil || !slices.Contains(before.Problems, p) {
			some = append(some, plain(p))
		}
	}
	return some
}

func because(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return ": " + plain(strings.Join(reasons, ", "))
}
