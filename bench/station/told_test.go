package station

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder/control"
)

// trial is a farm on which pushes are disturbed, one after the other, while visitors
// come all the time.
type trial struct {
	*Farm
	t        testing.TB
	visitors *Visitors
	sound    uint64 // the last generation that all machines were seen on
	begun    uint64 // the newest one that the station can have made since
	failures int    // of visitors, that were told
	rounds   int
}

// newTrial makes a farm with two real servers, pushes twice, and sends visitors.
func newTrial(t *testing.T) *trial {
	return furnished(t, newFarm(t, 2))
}

// furnished does so with a farm that was made.
func furnished(t *testing.T, f *Farm) *trial {
	check(t, f.Init(t.Context(), f.ClusterText("rr", nil, "")))
	check(t, f.Enroll(t.Context()))
	r := &trial{Farm: f, t: t}
	for range 2 {
		if err := r.push(r.next()).wait(); err != nil {
			t.Fatal(err)
		}
	}
	check(t, f.Serving(t.Context()))
	r.sound = f.sameGeneration(t)
	r.begun = r.sound
	r.visitors = f.visit(t.Context(), 3, 30*time.Millisecond)
	t.Cleanup(func() {
		n, err := r.visitors.Leave()
		if err != nil {
			t.Error(err)
		}
		t.Logf("%d requests meanwhile, %d failed", n, len(r.visitors.Failures()))
	})
	return r
}

// next is another cluster file each time; now and then with a second service.
func (r *trial) next() string {
	r.rounds++
	more := ""
	if r.rounds%3 == 0 {
		more = fmt.Sprintf("  - {name: api, vip: %s, ports: 80, servers: [{name: eps1}, {name: eps2, weight: %d}]}\n", r.MoreVIP(4, 1), 1+r.rounds%7)
	}
	return r.text("wrr", []int{1 + r.rounds%5, 1 + r.rounds/5}, more)
}

// text is ClusterText with a pair that is not so quick to take a machine without
// processor time for a dead one: there are many processes here.
func (r *trial) text(scheduler string, weights []int, more string) string {
	return strings.Replace(r.ClusterText(scheduler, weights, more), "interval: 100ms", "interval: 300ms", 1)
}

// pushing is a push under way on the station.
type pushing struct {
	r    *trial
	cmd  *netlab.Cmd
	out  bytes.Buffer
	mu   sync.Mutex
	line func(string)
	part string
	said []string // lines of progress
}

// push commits the file and begins to deliver it. under are words before svm-ems.
func (r *trial) push(text string, args ...string) *pushing {
	return r.pushUnder(nil, nil, text, args...)
}

func (r *trial) pushUnder(under []string, line func(p *pushing, line string), text string, args ...string) *pushing {
	r.t.Helper()
	check(r.t, r.EMS.Write("/root/cluster.yaml", text, 0o644))
	r.begun++
	words := append(under, "/usr/local/bin/svm-ems", "--state", StateDir, "push", "--health-timeout", "20s")
	words = append(append(words, args...), "/root/cluster.yaml")
	p := &pushing{r: r, cmd: r.EMS.Command(context.WithoutCancel(r.t.Context()), words[0], words[1:]...)}
	if line != nil {
		p.line = func(s string) { line(p, s) }
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, p
	check(r.t, p.cmd.Start())
	return p
}

// Write takes the lines of progress.
func (p *pushing) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for part := range strings.SplitAfterSeq(string(b), "\n") {
		p.part += part
		if strings.HasSuffix(p.part, "\n") {
			line := strings.Join(strings.Fields(p.part), " ")
			p.part = ""
			p.said = append(p.said, line)
			if p.line != nil {
				p.line(line)
			}
		}
	}
	return len(b), nil
}

func (p *pushing) wait() error {
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w: %s\n%s", err, p.out.String(), strings.Join(p.said, "\n"))
	}
	return nil
}

// quiet waits until no machine works on its configuration any more: whoever asked for
// it may be gone, and nobody helps.
func (r *trial) quiet() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var busy []string
	err := farm.Await(ctx, func() bool {
		busy = nil
		for _, m := range r.Machines() {
			units, err := m.Units()
			if err != nil {
				busy = append(busy, err.Error())
			}
			for _, u := range units {
				if strings.HasPrefix(u, "svm-receiver@") {
					busy = append(busy, m.Name()+": "+u)
				}
			}
		}
		return len(busy) == 0
	})
	if err != nil {
		r.t.Errorf("machines do not come to rest: %v", busy)
	}
}

// whole fails unless every machine is wholly on one generation that it was told to be
// on, with nothing pending; its daemon obeys that one; and no visitor noticed anything.
// It returns the generations by machine.
func (r *trial) whole(when string) string {
	r.t.Helper()
	r.quiet()
	var are []string
	for _, m := range r.Machines() {
		// Its own agent may be working on it: looked at again until it isn't.
		var g uint64
		ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
		var problem error
		_ = farm.Await(ctx, func() bool {
			g, problem = m.settled()
			return problem == nil
		})
		cancel()
		if problem != nil {
			r.t.Errorf("%s: %v", when, problem)
		} else if g < r.sound || g > r.begun {
			r.t.Errorf("%s: %s is on generation %d, and was told one from %d to %d", when, m.Name(), g, r.sound, r.begun)
		}
		are = append(are, fmt.Sprint(g))
	}
	failed := r.visitors.Failures()
	for _, err := range failed[r.failures:] {
		r.t.Errorf("%s: a visitor: %v", when, err)
	}
	r.failures = len(failed)
	return strings.Join(are, " ")
}

// settled is the generation that the machine is wholly on, in files and in what its
// daemon does.
func (m *Machine) settled() (uint64, error) {
	var rec struct {
		Current uint64
		Applied uint64
		Pending json.RawMessage
	}
	text, err := m.read("/var/lib/svm-config/state.json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &rec)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", m.Name(), err)
	}
	if rec.Pending != nil || rec.Applied != rec.Current {
		return 0, fmt.Errorf("%s is left in between: %s", m.Name(), text)
	}
	g, err := m.generation()
	if err != nil {
		return 0, err
	}
	if g != fmt.Sprint(rec.Current) {
		return 0, fmt.Errorf("%s has files of generation %s and takes itself to be on %d", m.Name(), g, rec.Current)
	}
	if !strings.HasPrefix(m.Name(), "eds") {
		return rec.Current, nil
	}
	yaml, err := m.read("/etc/svm/cluster.yaml")
	if err != nil {
		return 0, err
	}
	c, err := cluster.Parse("cluster.yaml", []byte(yaml))
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := control.NewClient(m.Path("/run/svm/fwd.sock")).Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", m.Name(), err)
	}
	if s.Digest != c.Digest() {
		return 0, fmt.Errorf("%s forwards by another cluster file than that of generation %d", m.Name(), rec.Current)
	}
	return rec.Current, nil
}

// mended pushes undisturbed; that must bring all machines to the same newest generation.
func (r *trial) mended(when string) {
	r.t.Helper()
	if err := r.push(r.next()).wait(); err != nil {
		r.t.Fatalf("%s: the next push: %v", when, err)
	}
	r.same(when)
}

// same fails unless all machines are on the same generation, newer than before.
func (r *trial) same(when string) {
	r.t.Helper()
	r.whole(when)
	g := r.sameGeneration(r.t)
	if g <= r.sound && g != r.begun {
		r.t.Errorf("%s: all are on generation %d, which was there before", when, g)
	}
	r.sound, r.begun = g, g
}
