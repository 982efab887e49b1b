package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

const (
	workers   = 8 // requests under way at once, per family
	redraw    = 80 * time.Millisecond
	farmLimit = 3 * time.Minute // for one topology, but for --keep
	logTail   = 15              // lines of each daemon's log after a failure
)

// stage is the farm on show.
type stage struct{ *farm.Farm }

// show runs all topologies and says at the end how it went.
func show(ctx context.Context, o options, p farm.Programs, s *screen) error {
	answered, failed := 0, 0
	var bad []string
	for _, t := range o.topologies {
		r, err := showOne(ctx, t, o, p, s)
		answered += r.answered
		failed += r.failed
		if ctx.Err() != nil {
			s.print("\n  interrupted\n")
			return exitCode(130)
		}
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", t.Name, err))
		}
	}
	if len(bad) > 0 {
		s.print(fmt.Sprintf("%s %d requests answered, %d failed\n", s.red("FAILED"), answered, failed))
		return errors.New(strings.Join(bad, "\n"))
	}
	over := o.topologies[0].Name
	if len(o.topologies) > 1 {
		over = fmt.Sprintf("%d topologies", len(o.topologies))
	}
	s.print(fmt.Sprintf("%s %d requests answered, %d failed, over %s\n", s.green("OK"), answered, failed, over))
	return nil
}

type result struct{ answered, failed int }

// showOne builds one farm, uses it and takes it away.
func showOne(ctx context.Context, t farm.Topology, o options, p farm.Programs, s *screen) (r result, err error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, farmLimit)
	defer cancel()
	l, err := netlab.Open()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	dir, err := os.MkdirTemp("", "svm-lab-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f := &stage{&farm.Farm{Lab: l, Topology: t, Families: o.fams, Dir: dir, Programs: p, Elect: true}}

	s.print(fmt.Sprintf("%s  %s, %s\n\n", s.bold(t.Name), t, o.scheduler))
	s.draw("  building the farm ...\n")
	raised, err := f.raise(ctx, o, s)
	if err == nil {
		r, err = f.exercise(ctx, o, s)
		s.print(f.books(ctx, s))
	}
	if err == nil {
		err = f.failover(ctx, o, s)
	}
	if err != nil && outer.Err() == nil {
		s.print(f.Logs(logTail))
	}
	if o.keep && raised && outer.Err() == nil {
		s.print(f.hints())
		<-outer.Done()
		return r, nil
	}
	if err == nil {
		err = f.lower(ctx, s)
	}
	if o.verbose {
		s.print(f.Logs(1000))
	}
	s.print("\n")
	return r, err
}

// raise builds the farm and starts everything in it. There is something to look
// at as soon as it is built, even when what is in it does not start.
func (f *stage) raise(ctx context.Context, o options, s *screen) (built bool, err error) {
	if err := f.Lab.Try(func() { f.Build(o.servers) }); err != nil {
		return false, err
	}
	if err := f.Prepare(); err != nil {
		return false, err
	}
	if err := f.WriteCluster(farm.Cluster{Services: append(f.WebServices(o.scheduler), f.PulseServices(o.scheduler)...)}); err != nil {
		return false, err
	}
	s.print(f.picture(s) + "\n")
	if o.verbose {
		text, err := os.ReadFile(f.ClusterFile())
		if err != nil {
			return false, err
		}
		s.print(string(text) + "\n")
	}
	s.draw("  starting servers and directors ...\n")
	return true, f.Start(ctx)
}

// exercise sends the requests and then looks for the proofs.
func (f *stage) exercise(ctx context.Context, o options, s *screen) (r result, err error) {
	tallies := map[farm.Family]*tally{}
	callers := map[farm.Family]*caller{}
	for _, fam := range f.Families {
		tallies[fam], callers[fam] = newTally(o.requests), &caller{f.Caller(fam)}
	}
	var before counters
	if err := f.Lab.Try(func() { before = f.counters() }); err != nil {
		return r, err
	}
	sending, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var wg sync.WaitGroup
	for _, fam := range f.Families {
		wg.Go(func() { callers[fam].run(sending, tallies[fam], workers) })
	}
	took := s.watch(&wg, func() string {
		if f.Dead() != nil {
			giveUp()
		}
		return f.table(s, tallies, 0)
	})
	giveUp()
	s.print(f.table(s, tallies, took) + "\n")

	var errs []error
	for _, fam := range f.Families {
		t := tallies[fam].figures()
		r.answered += t.done
		r.failed += t.failed
		for _, e := range t.errs {
			s.print("  " + s.red("✗") + " " + e.Error() + "\n")
		}
	}
	if r.failed > 0 {
		errs = append(errs, fmt.Errorf("%d requests failed", r.failed))
	}
	if err := f.Dead(); err != nil {
		return r, errors.Join(append(errs, err)...)
	}
	prove := func(look func() proof) {
		if ctx.Err() != nil || f.Dead() != nil {
			return
		}
		var p proof
		if err := f.Lab.Try(func() { p = look() }); err != nil {
			p.err = err
		}
		s.print(p.show(s))
		if p.err != nil {
			errs = append(errs, errors.New("not so: "+p.says)) // why is on the screen
		}
	}
	prove(func() proof { return f.proveBypass(before, r.answered) })
	for _, fam := range f.Families {
		prove(func() proof { return f.proveFrame(ctx, callers[fam]) })
		prove(func() proof { return f.proveOwner(ctx, fam) })
		prove(func() proof { return f.proveBulk(ctx, callers[fam], o.bulk) })
		prove(func() proof { return f.proveReach(ctx, fam) })
	}
	return r, errors.Join(append(errs, ctx.Err(), f.Dead())...)
}

// watch redraws the block until the work is done, and returns how long it took.
func (s *screen) watch(wg *sync.WaitGroup, block func() string) time.Duration {
	start := time.Now()
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return time.Since(start)
		case <-tick.C:
			s.draw(block())
		}
	}
}

// lower stops everything the way an administrator would.
func (f *stage) lower(ctx context.Context, s *screen) error {
	pr := proof{says: "everything ended on request, and the hosts are as they were"}
	pr.err = f.Stop(ctx)
	s.print(pr.show(s))
	if pr.err != nil {
		s.print(f.Logs(logTail))
	}
	return pr.err
}
