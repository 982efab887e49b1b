package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

// failover kills the active director with requests and transfers under way, and
// brings it back. A connection that breaks and a request that fails are errors.
func (f *stage) failover(ctx context.Context, o options, s *screen) error {
	s.draw("  opening connections ...\n")
	pulse, err := f.StartPulse(ctx)
	if err != nil {
		return err
	}
	defer pulse.Stop()
	third := o.crowd / 3
	crowd, err := f.Gather(ctx, o.crowd-2*third, third, third)
	if err != nil {
		return err
	}
	defer crowd.Close()
	m := &move{f: f, s: s, pulse: pulse, crowd: crowd}

	one, two := f.EDS[0].Name(), f.EDS[1].Name()
	err = m.show(ctx, "kill -9 "+one+": "+two+" takes over", 1, func() error { return f.Kill(0) })
	if err != nil {
		return err
	}
	if err := crowd.Move(ctx, third, third); err != nil {
		return err
	}
	return m.show(ctx, one+" comes back: it copies all connections, then takes the role again", 0, func() error {
		_, err := f.StartDirector(ctx, 0)
		return err
	})
}

// move is a change of the active director under load.
type move struct {
	f     *stage
	s     *screen
	pulse *farm.Pulse
	crowd *farm.Crowd
}

// show makes a change after which the director number heir is the active one, and
// prints what it did to the traffic.
func (m *move) show(ctx context.Context, says string, heir int, do func() error) error {
	m.s.draw("  " + says + " ...\n")
	fresh := m.f.keepAsking(ctx)
	idle, moving := m.crowd.Size()
	from := time.Now()
	err := do()
	if err == nil {
		err = m.f.ReadyAs(ctx, heir, "active")
	}
	if err == nil && heir == 0 {
		err = m.f.Copied(ctx, 1)
	}
	var gap farm.Gap
	if err == nil {
		gap, err = m.pulse.Since(from)
	}
	word := m.word(ctx, heir)
	answered, failed := fresh.stop()
	p := proof{says: says}
	broken := m.crowd.Finish("a connection broke")
	if err == nil {
		p.saw = append(p.saw, word, m.forwarded(gap),
			fmt.Sprintf("%d connections were open (%d idle, %d up- and downloads): %d broke", idle+moving, idle, moving, len(broken)),
			fmt.Sprintf("%d new requests were answered meanwhile, %d failed", answered, len(failed)))
	}
	p.err = errors.Join(err, shorten(broken), shorten(failed), ctx.Err(), m.f.Dead())
	m.s.print(p.show(m.s))
	if p.err != nil {
		return errors.New("not so: " + says) // why is on the screen
	}
	return nil
}

// word is what the new active director says of itself.
func (m *move) word(ctx context.Context, heir int) string {
	out, err := m.f.Forward(ctx, heir, "ha", "show")
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(out, "\n")
	return m.f.EDS[heir].Name() + "# svm-fwd ha show:  " + line
}

func (m *move) forwarded(g farm.Gap) string {
	if g.Lost == 0 {
		return fmt.Sprintf("no packet was lost of %d, one a millisecond", g.Sent)
	}
	return fmt.Sprintf("no packet was forwarded for %s: %d of %d were lost, one a millisecond", m.s.bold(ms(g.Hole)), g.Lost, g.Sent)
}

// shorten keeps the first few errors.
func shorten(errs []error) error {
	if len(errs) > keepErrors {
		errs = append(errs[:keepErrors:keepErrors], fmt.Errorf("and %d more", len(errs)-keepErrors))
	}
	return errors.Join(errs...)
}

// asking is requests that go on, each on a connection of its own.
type asking struct {
	wg   sync.WaitGroup
	end  chan struct{}
	once sync.Once

	mu       sync.Mutex
	answered int
	failed   []error
}

// keepAsking sends requests, a few at a time, until stop.
func (f *stage) keepAsking(ctx context.Context) *asking {
	a := &asking{end: make(chan struct{})}
	for i := range askers {
		c := &caller{f.Caller(f.Families[i%len(f.Families)])}
		a.wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-a.end:
					return
				case <-time.After(askEvery):
				}
				_, err := c.one(ctx, i)
				a.mu.Lock()
				if err != nil {
					a.failed = append(a.failed, err)
				} else {
					a.answered++
				}
				a.mu.Unlock()
			}
		})
	}
	return a
}

// askers is how many requests are under way at once, over all families.
const askers = 8

// askEvery leaves the machine some air: the show is about the director.
const askEvery = 10 * time.Millisecond

// stop lets the requests under way end. It may be called again.
func (a *asking) stop() (answered int, failed []error) {
	a.once.Do(func() { close(a.end) })
	a.wg.Wait()
	return a.answered, a.failed
}
