package forwarder

import (
	"testing"

	"github.com/svm-cluster/svm/sched"
)

func TestProcessBackends(t *testing.T) {
	var cases []processCase
	for _, f := range families() {
		add := func(name string, setup func(*rig), in [][]byte, want ...string) {
			cases = append(cases, processCase{f.name + " " + name, setup, in, f.wants(want...), nil})
		}
		change := func(name string, how func(*server)) func(*rig) {
			return func(r *rig) { r.change(f.webS+name, how) }
		}
		open := establish(f, 1, 1000) // on a
		half := func(r *rig) { r.one(f.tcp(1, 1000, syn)) }
		asyn, aack, other := f.tcp(1, 1000, syn), f.tcp(1, 1000, ack), f.tcp(2, 1000, syn)
		quiesce := func(s *server) { s.weight = 0 }
		remove := func(s *server) { s.removed = true }
		cut := func(s *server) { s.cut, s.refusing = true, true }
		down := func(s *server) { s.refusing = true }
		unresolve := func(s *server) { s.unresolved = true }
		recycle := func(s *server) { s.generation++; s.load = new(sched.Load) }

		add("quiesced keeps its connection", seq(open, change("/a", quiesce)), [][]byte{aack, other}, "known web/a", "scheduled web/b")
		add("quiesced gets no new one", change("/a", quiesce), [][]byte{asyn, other}, "scheduled web/b", "scheduled web/b")
		add("quiesced, syn on half-open moves on", seq(half, change("/a", quiesce)), [][]byte{asyn}, "scheduled web/b")
		add("down keeps its connection", seq(open, change("/a", down)), [][]byte{aack}, "known web/a")
		add("down, syn on half-open moves on", seq(half, change("/a", down)), [][]byte{asyn, aack}, "scheduled web/b", "known web/b")
		add("down, ack on half-open stays", seq(half, change("/a", down)), [][]byte{aack}, "known web/a")
		add("down, syn on established stays", seq(open, change("/a", down)), [][]byte{asyn}, "known web/a")
		add("removed, syn", seq(open, change("/a", remove)), [][]byte{asyn}, "scheduled web/b")
		add("removed, segment", seq(open, change("/a", remove)), [][]byte{aack, aack}, "fallback web/b", "known web/b")
		add("cut, syn", seq(open, change("/a", cut)), [][]byte{asyn}, "scheduled web/b")
		add("cut, segment", seq(open, change("/a", cut)), [][]byte{aack}, "fallback web/b")
		add("another server under the same index", seq(open, change("/a", recycle)), [][]byte{aack}, "fallback mh")
		add("the generation that was is back", seq(open, change("/a", func(s *server) { s.generation++ }), change("/a", func(s *server) { s.generation-- })), [][]byte{aack}, "known web/a")
		add("unresolved keeps its connection's packets back", seq(open, change("/a", unresolve)), [][]byte{aack}, "no-neighbour")
		add("unresolved, then resolved", seq(open, change("/a", unresolve), func(r *rig) { r.one(aack) },
			change("/a", func(s *server) { s.unresolved = false })), [][]byte{aack}, "known web/a")
		add("unresolved, syn on half-open moves on", seq(half, change("/a", unresolve)), [][]byte{asyn}, "scheduled web/b")
		add("no server at all", seq(change("/a", down), change("/b", down)), [][]byte{asyn, aack}, "no-server", "no-server")
		add("no server, icmp error", seq(change("/a", down), change("/b", down)), [][]byte{icmpError(asyn, 3-b2i(f.v6))}, "no-server")
		add("no server, connection goes on", seq(open, change("/a", down), change("/b", remove)), [][]byte{aack}, "known web/a")
		add("a reload that changes nothing", seq(open, (*rig).rebuild, (*rig).rebuild), [][]byte{aack, other}, "known web/a", "scheduled web/b")
		add("a service that goes", seq(open, func(r *rig) {
			for i, s := range r.specs {
				if s.name == f.webS { // its index stays empty, as in control
					r.specs[i] = &spec{name: "gone", vip: s.vip, proto: s.proto, ports: []PortRange{{1, 1}}, sched: "rr"}
				}
			}
			r.rebuild()
		}), [][]byte{aack}, "no-service")
	}
	runCases(t, 100, 50, cases)
}

// Even a Snapshot whose scheduler offers a server without a MAC address sends
// nothing to nowhere.
func TestProcessUnresolvedPick(t *testing.T) {
	r := newRig(t, 10, 50)
	for _, b := range r.snap.Backends {
		if b != nil {
			b.Resolved = false
		}
	}
	for _, f := range families() {
		r.expect("no-neighbour", f.tcp(1, 1, syn), f.tcp(1, 1, ack), f.udp(1, 1))
	}
	r.expect("no-neighbour", udp("198.51.0.1:1000", vip4+":5353"))
	if r.table.Len() != 0 {
		t.Error("an entry was made")
	}
}

func TestProcessThresholds(t *testing.T) {
	r := newRig(t, 100, 50)
	f := families()[0]
	r.server("web/a").load.SetThresholds(2, 1)
	r.server("web/b").load.SetThresholds(1, 0)
	for i, want := range []string{"scheduled web/a", "scheduled web/b", "scheduled web/a", "no-server"} {
		if got := r.one(f.tcp(i, 1, syn)); got != want {
			t.Errorf("client %d: %s, want %s", i, got, want)
		}
	}
	r.expect("known web/a", f.tcp(0, 1, ack)) // a full server keeps its connections
	// b's one connection ends; without a lower threshold it opens again below 1.
	r.expect("known web/b", f.tcp(1, 1, ack), f.tcp(1, 1, rst))
	r.expect("no-server", f.tcp(9, 1, syn))
	r.now += 11_000
	r.sweep()
	r.expect("scheduled web/b", f.tcp(9, 1, syn))
	// a opens again below 1.
	r.expect("no-server", f.tcp(10, 1, syn))
	r.now += 61_000
	r.sweep()
	r.expect("scheduled web/b", f.tcp(10, 1, syn)) // b's half-open one is gone; a holds one still
	r.balanced()
}

// wlc goes by the counts that the core keeps.
func TestProcessCountsLoad(t *testing.T) {
	r := newRig(t, 100, 50)
	to := vip4 + ":8000"
	c := func(n int) string { return families()[0].client(n, 1000) }
	r.server("range/a").weight = 3
	r.rebuild()
	picks := map[string]int{}
	for n := range 40 {
		picks[r.one(tcp(c(n), to, syn))]++
		r.one(tcp(c(n), to, ack))
	}
	if picks["scheduled range/a"] != 30 || picks["scheduled range/b"] != 10 {
		t.Errorf("weights 3 and 1 gave %v", picks)
	}
	a, b := r.server("range/a").load, r.server("range/b").load
	if a.Active() != 30 || b.Active() != 10 || a.Inactive() != 0 {
		t.Errorf("active %d and %d", a.Active(), b.Active())
	}
	for n := range 40 {
		r.one(tcp(c(n), to, fin|ack))
	}
	if a.Active() != 0 || a.Inactive() != 30 || b.Inactive() != 10 {
		t.Errorf("after the end: active %d, inactive %d and %d", a.Active(), a.Inactive(), b.Inactive())
	}
	r.now += 121_000
	r.sweep()
	if a.Inactive() != 0 || b.Inactive() != 0 || r.table.Len() != 0 {
		t.Errorf("inactive %d and %d, %d entries", a.Inactive(), b.Inactive(), r.table.Len())
	}
}
