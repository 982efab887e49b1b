package ha

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A simulated network of two or three machines on two wires, each of which
// loses and delays packets and can be cut in one direction; machines pause, die
// and start again. All of it is drawn from one seed.

type modelEvent struct {
	at   time.Duration
	n    int // order among equals
	node int
	gen  int // of the node: a restart makes what was planned void
	msg  *Received
	what byte // t: tick, m: message, d: die, s: start, p: pause ends
}

type modelQueue []modelEvent

func (q modelQueue) Len() int { return len(q) }
func (q modelQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}
func (q modelQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *modelQueue) Push(x any)   { *q = append(*q, x.(modelEvent)) }
func (q *modelQueue) Pop() any     { o := *q; x := o[len(o)-1]; *q = o[:len(o)-1]; return x }

type modelNode struct {
	m      *Machine
	cfg    MachineConfig
	gen    int
	paused time.Duration // until then; 0: runs
	queued []modelEvent
	tick   time.Duration
	active bool
}

type model struct {
	r     *rand.Rand
	q     modelQueue
	n     int
	nodes []*modelNode
	now   time.Duration
	hint  float64                // chance of a false PeerGone at each event
	rough bool                   // loss, delay and cuts are on
	loss  float64                // of each packet on each wire
	delay time.Duration          // at most
	cut   [2][3][3]time.Duration // wire, from, to: until when
	trace []string
	keep  bool

	// Since when, in the quiet phase, there were none or several.
	noneSince, manySince time.Duration
	noneWorst, manyWorst time.Duration
}

func newModel(seed uint64) *model {
	r := rand.New(rand.NewPCG(seed, 99))
	w := &model{r: r, rough: true, loss: r.Float64() * 0.6, delay: time.Duration(1+r.IntN(80)) * ms}
	interval := []time.Duration{10 * ms, 100 * ms, time.Second}[r.IntN(3)]
	if r.IntN(2) == 0 {
		w.hint = r.Float64() / 4
	}
	if interval == 10*ms {
		w.delay = time.Duration(r.IntN(8)) * ms
	}
	preempt := r.IntN(2) == 0
	keyed := r.IntN(2) == 0
	for i := range 2 + r.IntN(2) {
		cfg := MachineConfig{Priority: uint8(1 + r.IntN(254)), Interval: interval, Preempt: preempt, WaitForSync: r.IntN(3) == 0, SyncTimeout: 2 * interval}
		if r.IntN(3) == 0 {
			cfg.PreemptDelay = time.Duration(r.IntN(300)) * ms
		}
		if i > 0 && r.IntN(3) == 0 {
			cfg.Priority = w.nodes[0].cfg.Priority // a tie
		}
		if keyed {
			cfg.Node = modelAddr(0, i)
		}
		w.nodes = append(w.nodes, &modelNode{cfg: cfg})
		w.plan(modelEvent{at: t0 + time.Duration(r.IntN(int(2*interval))), node: i, what: 's'})
	}
	return w
}

// modelAddr ranks the nodes the other way round on the second wire.
func modelAddr(wire, node int) netip.Addr {
	if wire == 1 {
		node = 9 - node
	}
	return addr(fmt.Sprintf("10.0.%d.%d", wire, node+1))
}

func (w *model) plan(e modelEvent) {
	w.n++
	e.n = w.n
	heap.Push(&w.q, e)
}

func (w *model) run(until time.Duration) {
	for len(w.q) > 0 && w.q[0].at <= until {
		e := heap.Pop(&w.q).(modelEvent)
		w.now = e.at
		w.handle(e)
		if w.hint > 0 && w.r.Float64() < w.hint {
			if i := w.r.IntN(len(w.nodes)); w.nodes[i].m != nil && w.now >= w.nodes[i].paused {
				w.step(i, PeerGone{})
			}
		}
		w.watch()
	}
	w.now = until
	w.watch()
}

func (w *model) handle(e modelEvent) {
	n := w.nodes[e.node]
	if e.what == 's' {
		if n.m != nil {
			return
		}
		n.m, _ = NewMachine(n.cfg)
		w.step(e.node, Startup{})
		return
	}
	if n.m == nil || e.gen != n.gen {
		return
	}
	switch {
	case e.what == 'd':
		n.m, n.active, n.paused, n.queued = nil, false, 0, nil
		n.gen++
	case e.what == 'p':
		if w.now < n.paused {
			return
		}
		n.paused = 0
		q := n.queued
		n.queued = nil
		for _, e := range q {
			w.handle(e)
		}
	case n.paused > w.now:
		// A socket's queue keeps some of what comes.
		if e.what == 't' || len(n.queued) < 20 {
			n.queued = append(n.queued, e)
		}
	case e.what == 'm':
		w.step(e.node, *e.msg)
	case e.at == n.tick || n.tick < w.now && n.tick != 0:
		w.step(e.node, Tick{})
	}
}

func (w *model) step(i int, ev Event) {
	n := w.nodes[i]
	acts := n.m.Step(w.now, ev)
	if w.keep {
		w.trace = append(w.trace, fmt.Sprintf("%v %d %T%+v: %s", w.now, i, ev, ev, show(acts)))
	}
	for _, a := range acts {
		switch a := a.(type) {
		case SetTimer:
			n.tick = a.At
			if a.At != 0 {
				late := time.Duration(0)
				if w.rough {
					late = time.Duration(w.r.IntN(int(2 * ms)))
				}
				n.tick += late
				w.plan(modelEvent{at: n.tick, node: i, gen: n.gen, what: 't'})
			}
		case BecomeActive:
			if n.active {
				panic("active twice")
			}
			n.active = true
		case BecomeBackup:
			n.active = false
		case Send:
			w.send(i, a)
		case Left:
			w.handle(modelEvent{node: i, gen: n.gen, what: 'd'})
			w.plan(modelEvent{at: w.now + time.Duration(w.r.Int64N(6*int64(n.cfg.Interval))), node: i, what: 's'})
			return
		}
	}
	if s, _ := n.m.State(); (s == Active) != n.active {
		panic("the role and the state differ")
	}
}

func (w *model) send(from int, s Send) {
	for wire := range 2 {
		for to, n := range w.nodes {
			if to == from || n.m == nil {
				continue
			}
			d := time.Duration(w.r.IntN(int(ms)))
			if w.rough {
				if w.r.Float64() < w.loss || w.now < w.cut[wire][from][to] {
					continue
				}
				d += time.Duration(w.r.IntN(int(w.delay) + 1))
			}
			msg := &Received{Advert: Advert{VRID: 1, Priority: s.Priority, Interval: s.Interval}, Path: wire,
				Sender: modelAddr(wire, from), Local: modelAddr(wire, to), Node: w.nodes[from].cfg.Node}
			w.plan(modelEvent{at: w.now + d, node: to, gen: n.gen, what: 'm', msg: msg})
		}
	}
}

// watch measures how long none or several were active; a paused director's role
// counts, as its forwarder might be running.
func (w *model) watch() {
	count := 0
	for _, n := range w.nodes {
		if n.active {
			count++
		}
	}
	gauge := func(bad bool, since, worst *time.Duration) {
		if !bad {
			*since = 0
			return
		}
		if *since == 0 {
			*since = w.now
		}
		*worst = max(*worst, w.now-*since)
	}
	gauge(count == 0, &w.noneSince, &w.noneWorst)
	gauge(count > 1, &w.manySince, &w.manyWorst)
}

// mischief draws what goes wrong in the rough phase.
func (w *model) mischief(until time.Duration) {
	interval := int64(w.nodes[0].cfg.Interval)
	for range w.r.IntN(8) {
		i := w.r.IntN(len(w.nodes))
		at := t0 + time.Duration(w.r.Int64N(int64(until-t0)))
		w.run(max(at, w.now))
		n := w.nodes[i]
		for range w.r.IntN(3) {
			to := w.now + time.Duration(w.r.Int64N(8*interval))
			w.cut[w.r.IntN(2)][w.r.IntN(3)][w.r.IntN(3)] = to
		}
		if n.m == nil {
			continue
		}
		switch w.r.IntN(9) {
		case 0, 1:
			w.plan(modelEvent{at: w.now, node: i, gen: n.gen, what: 'd'})
			w.plan(modelEvent{at: w.now + time.Duration(w.r.Int64N(6*interval)), node: i, what: 's'})
		case 2, 3:
			n.paused = w.now + time.Duration(w.r.Int64N(20*interval))
			w.plan(modelEvent{at: n.paused, node: i, gen: n.gen, what: 'p'})
		case 4:
			w.step(i, Takeover{})
		case 5:
			w.step(i, Release{})
		case 6:
			w.step(i, Track{Delta: w.r.IntN(100) - 50})
		case 7:
			w.step(i, Track{Fault: "a link"})
		case 8:
			w.step(i, Leave{})
		}
	}
	w.run(max(until, w.now))
}

func checkModel(seed uint64, keep bool) (*model, error) {
	w := newModel(seed)
	w.keep = keep
	interval := w.nodes[0].cfg.Interval
	w.mischief(t0 + 12*interval)
	// What is still paused or dead comes back; then the network is good. Messages
	// of before may be under way for as long as the delay.
	calm := w.now + 20*interval
	w.run(calm)
	for i, n := range w.nodes {
		if n.m != nil && n.m.track.Fault != "" {
			w.step(i, Track{})
		}
	}
	w.rough = false
	w.run(w.now + w.delay)
	w.noneSince, w.manySince, w.noneWorst, w.manyWorst = 0, 0, 0, 0
	w.watch()
	down := ActiveDownInterval(1, interval)
	w.run(w.now + 2*down + 10*interval + 400*ms)
	// A tie on wires that disagree may cost one round more.
	if limit := down + interval + 10*ms; w.noneWorst > limit {
		return w, fmt.Errorf("nobody was active for %v, at most %v is allowed", w.noneWorst, limit)
	}
	if limit := 3 * interval; w.manyWorst > limit {
		return w, fmt.Errorf("two were active for %v, at most %v is allowed", w.manyWorst, limit)
	}
	count := 0
	for _, n := range w.nodes {
		if n.active {
			count++
		}
	}
	if count != 1 {
		return w, fmt.Errorf("%d are active in the end", count)
	}
	return w, nil
}

func TestModel(t *testing.T) {
	schedules := 100_000
	if testing.Short() {
		schedules = 5_000
	}
	steps := 0
	for seed := range uint64(schedules) {
		w, err := checkModel(seed, false)
		steps += w.n
		if err != nil {
			w, _ = checkModel(seed, true)
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(w.trace, "\n"))
		}
	}
	t.Logf("%d schedules, %d events", schedules, steps)
}
