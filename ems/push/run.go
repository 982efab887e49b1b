package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/svm-cluster/svm/ems/render"
)

// run is one push under way.
type run struct {
	p         *Plan
	t         Times
	progress  Progress
	mu        sync.Mutex // of progress and warnings
	directors []*node    // in the cluster file's order
	servers   []*node
	place     map[string]int // of a real server among all
	warnings  []string
	committed bool // a machine has confirmed the generation: there is no way back
}

// Run delivers the plan's generation: everything is staged on every machine before
// anything is switched on any, and confirmed only when all are well. A failure, or the
// end of ctx, before the first machine has confirmed rolls every machine back, within
// Times.Rollback; from the first confirmation on the push goes forward only.
//
// A push that died is taken up by the next one: machines that are on the generation
// already are left as they are, those that hang in another one are freed first.
// Result is useful beside an error, too. progress may be nil.
func Run(ctx context.Context, p Plan, progress Progress) (Result, error) {
	if err := p.check(); err != nil {
		return Result{Stamp: p.Stamp, Ending: RolledBack}, err
	}
	r := newRun(&p, progress)
	defer r.close()
	err := r.deliver(ctx)
	res := r.result()
	switch {
	case err == nil:
		res.Ending = Delivered
	case r.committed:
		res.Ending = Unconfirmed
		err = fmt.Errorf("%w; generation %d rules and was confirmed, it only has to be pushed again", err, p.Stamp.Generation)
	default:
		lost := r.rollback(context.WithoutCancel(ctx))
		res = r.result()
		res.Ending = RolledBack
		if len(lost) > 0 {
			res.Ending = Torn
			err = fmt.Errorf("%w; could not be told to go back: %s: push again when they can be reached", err, names(lost))
		}
	}
	return res, err
}

func newRun(p *Plan, progress Progress) *run {
	r := &run{p: p, t: p.Times.filled(), progress: progress, place: map[string]int{}}
	for i := range p.Cluster.Directors {
		d := &p.Cluster.Directors[i]
		r.directors = append(r.directors, &node{name: d.Name, kind: render.Director, at: DirectorTarget(p.Cluster, d), step: Waiting})
	}
	for i := range p.Cluster.RealServers {
		s := &p.Cluster.RealServers[i]
		r.place[s.Name] = i
		r.servers = append(r.servers, &node{name: s.Name, kind: render.RealServer, step: Waiting})
	}
	return r
}

func (r *run) close() {
	for _, d := range r.directors {
		r.drop(d)
	}
}

func (r *run) event(n *node, e Event) {
	e.Node = n.name
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.progress != nil {
		r.progress.Event(e)
	}
}

func (r *run) warn(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.warnings, s) {
		r.warnings = append(r.warnings, s)
	}
}

// deliver is the push without its way back.
func (r *run) deliver(ctx context.Context) error {
	if err := r.gather(ctx); err != nil {
		return err
	}
	directors, servers := r.open(r.directors), r.open(r.servers)
	r.committed = slices.ContainsFunc(slices.Concat(r.directors, r.servers), func(n *node) bool { return n.confirmed(r.p.Stamp) })
	if len(directors)+len(servers) == 0 {
		return nil
	}
	if err := r.repair(ctx, directors, servers); err != nil {
		return err
	}
	if err := each(directors, func(n *node) error { return r.stageOnce(ctx, n) }); err != nil {
		return err
	}
	var unstaged []*node
	for _, n := range servers {
		if n.touched = true; !n.on(r.p.Stamp) {
			unstaged = append(unstaged, n)
		}
	}
	if err := r.relayAll(ctx, unstaged, Stage); err != nil {
		return err
	}
	// Real servers first: they must have new addresses before directors forward to them.
	// Old addresses leave them only when they confirm.
	if err := r.relayAll(ctx, servers, Switch); err != nil {
		return err
	}
	for _, n := range r.backupFirst(directors) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.verb(ctx, n, Switch, r.p.Stamp.Generation); err != nil {
			return err
		}
	}
	if err := r.awaitHealth(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.confirm(context.WithoutCancel(ctx), directors, servers)
}

// open are the machines that have something left to do.
func (r *run) open(nodes []*node) []*node {
	var some []*node
	for _, n := range nodes {
		if n.skipped() {
			continue
		}
		if n.confirmed(r.p.Stamp) {
			r.done(n)
			continue
		}
		some = append(some, n)
	}
	return some
}

func (r *run) done(n *node) {
	n.step, n.err = Done, nil
	r.event(n, Event{Step: Done})
}

func (r *run) stageOnce(ctx context.Context, n *node) error {
	if n.on(r.p.Stamp) { // an earlier push got that far
		n.touched = true
		return nil
	}
	return r.stage(ctx, n)
}

// relayAll has all of the servers reach what the verb is for.
func (r *run) relayAll(ctx context.Context, servers []*node, v Verb) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.sum(r.relay(ctx, servers, v, r.p.Stamp.Generation))
}

// sum notes failures at their machines and makes one error of them.
func (r *run) sum(failed map[*node]error) error {
	var all []error
	for _, n := range slices.Concat(r.directors, r.servers) {
		if err := failed[n]; err != nil {
			n.err = err
			all = append(all, err)
		}
	}
	if len(all) > 5 {
		all = append(all[:5:5], fmt.Errorf("and %d more machines", len(all)-5))
	}
	return errors.Join(all...)
}

// backupFirst orders the directors so that the one that forwards now is switched last.
func (r *run) backupFirst(directors []*node) []*node {
	rank := func(n *node) int {
		rank := int(r.p.Cluster.Director(n.name).Priority)
		if h := healthOf(n.before); h != nil && h.Role == active {
			rank += 256
		}
		return rank
	}
	directors = slices.Clone(directors)
	slices.SortStableFunc(directors, func(a, b *node) int { return rank(a) - rank(b) })
	return directors
}

// confirm ends the push. The first confirmation is the point of no return: before it
// everything can go back, after it everything goes forward.
func (r *run) confirm(ctx context.Context, directors, servers []*node) error {
	ctx, cancel := context.WithTimeout(ctx, r.t.Step+r.t.Rollback)
	defer cancel()
	g := r.p.Stamp.Generation
	failed := map[*node]error{}
	for _, n := range directors {
		err := r.verb(ctx, n, Confirm, g)
		if err != nil && !r.committed && CauseOf(err) != Unreachable {
			return err
		}
		// A director that can't be asked may have confirmed.
		r.committed = true
		if err != nil {
			failed[n] = err
		} else {
			r.done(n)
		}
	}
	for n, err := range r.relay(ctx, servers, Confirm, g) {
		failed[n] = err
	}
	for _, n := range servers {
		if failed[n] == nil {
			r.committed = true
			r.done(n)
		}
	}
	return r.sum(failed)
}

// rollback brings every machine back that may have heard of the generation, and returns
// those that couldn't be told.
func (r *run) rollback(ctx context.Context) (lost []*node) {
	ctx, cancel := context.WithTimeout(ctx, r.t.Rollback)
	defer cancel()
	g := r.p.Stamp.Generation
	touched := func(nodes []*node) (some []*node) {
		for _, n := range nodes {
			if n.touched && !n.skipped() {
				some = append(some, n)
			}
		}
		return some
	}
	var mu sync.Mutex
	failed := map[*node]error{}
	// Directors first: none may forward to an address that its server gives up.
	directors, servers := touched(r.directors), touched(r.servers)
	_ = each(directors, func(n *node) error {
		if err := r.verb(ctx, n, Rollback, g); err != nil {
			mu.Lock()
			failed[n] = err
			mu.Unlock()
		}
		return nil
	})
	for n, err := range r.relay(ctx, servers, Rollback, g) {
		failed[n] = err
	}
	for _, n := range slices.Concat(r.directors, r.servers) {
		if err := failed[n]; err != nil {
			r.p.Log.Error("a machine could not be rolled back", "node", n.name, "error", err)
			n.err = errors.Join(n.err, err)
			lost = append(lost, n)
		}
		switch {
		case n.skipped():
		case n.err != nil:
			n.step = Failed
			r.event(n, Event{Step: Failed, Error: plain(n.err.Error())})
		case n.touched:
			n.step = WentBack
			r.event(n, Event{Step: WentBack})
		}
	}
	return lost
}

// each runs do on all nodes at the same time and joins the errors.
func each(nodes []*node, do func(*node) error) error {
	errs := make([]error, len(nodes))
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error {
			errs[i] = do(n)
			if errs[i] != nil {
				n.err = errs[i]
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

func (r *run) result() Result {
	res := Result{Stamp: r.p.Stamp, Warnings: slices.Clone(r.warnings)}
	for _, n := range slices.Concat(r.directors, r.servers) {
		o := Outcome{Node: n.name, Kind: n.kind, Step: n.step, Report: n.report}
		if n.err != nil {
			o.Error = plain(n.err.Error())
			if o.Step != Skipped {
				o.Step = Failed
			}
		}
		res.Machines = append(res.Machines, o)
	}
	return res
}
