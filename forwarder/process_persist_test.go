package forwarder

import (
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/sched"
)

// template describes what the table remembers of a frame's client.
func (r *rig) template(eth []byte) string {
	var p frame.Packet
	if f := frame.Parse(eth, &p); f != frame.OK {
		r.t.Fatal(f)
	}
	s := r.snap.VIPs[p.Key.Dst()].Service(p.Key.Proto(), p.Key.DstPort())
	return r.keyed(r.core.templateKey(s, &p.Key))
}

func TestProcessPersistence(t *testing.T) {
	var cases []processCase
	for _, f := range families() {
		add := func(name string, setup func(*rig), in [][]byte, want []string, tmpl string) {
			cases = append(cases, processCase{f.name + " " + name, setup, in, f.wants(want...), func(r *rig) {
				if got := r.template(f.stickyTCP(1, 1, syn)); tmpl != "" && got != tmpl {
					r.t.Errorf("the template is %q, want %q", got, tmpl)
				}
			}})
		}
		st := f.stickyTCP
		open := func(r *rig) { r.send(st(1, 1000, syn), st(1, 1000, ack)) }
		change := func(how func(*server)) func(*rig) { return func(r *rig) { r.change(f.stick+"/a", how) } }
		list := func(s ...string) []string { return s }

		add("a client's connections keep together", nil, [][]byte{st(1, 1, syn), st(1, 2, syn), st(1, 3, syn)},
			list("scheduled sticky/a", "persisted sticky/a", "persisted sticky/a"), "NONE 61000")
		add("a network's clients keep together", nil, [][]byte{st(1, 1, syn), st(2, 1, syn), st(250, 1, syn)},
			list("scheduled sticky/a", "persisted sticky/a", "persisted sticky/a"), "")
		add("another network goes its way", nil, [][]byte{st(1, 1, syn), st(257, 1, syn), st(258, 1, syn)},
			list("scheduled sticky/a", "scheduled sticky/b", "persisted sticky/b"), "")
		add("a syn alone does not persist", seq(func(r *rig) { r.one(st(1, 1, syn)) }, advance(61_000)), [][]byte{st(1, 2, syn)},
			list("scheduled sticky/b"), "NONE 61000")
		add("an established connection does", seq(open, advance(61_000)), [][]byte{st(1, 2, syn)}, list("persisted sticky/a"), "NONE 239000")
		add("it expires", seq(open, advance(300_000)), [][]byte{st(1, 2, syn)}, list("scheduled sticky/b"), "NONE 61000")
		add("it is there to the last moment", seq(open, advance(299_999)), [][]byte{st(1, 2, syn)}, list("persisted sticky/a"), "NONE 1")
		add("traffic keeps it", seq(open, advance(200_000)), [][]byte{st(1, 1000, ack)}, list("known sticky/a"), "NONE 300000")
		add("a reset does not confirm it", seq(func(r *rig) { r.send(st(1, 1, syn), st(1, 1, rst)) }), nil, nil, "NONE 61000")
		add("quiesced lets go", seq(open, change(func(s *server) { s.weight = 0 })), [][]byte{st(1, 1000, ack), st(1, 2, syn), st(1, 3, syn)},
			list("known sticky/a", "scheduled sticky/b", "persisted sticky/b"), "")
		add("down lets go", seq(open, change(func(s *server) { s.refusing = true })), [][]byte{st(1, 2, syn)}, list("scheduled sticky/b"), "")
		add("removed lets go", seq(open, change(func(s *server) { s.removed = true })), [][]byte{st(1, 2, syn)}, list("scheduled sticky/b"), "")
		add("cut lets go", seq(open, change(func(s *server) { s.cut = true })), [][]byte{st(1, 2, syn)}, list("scheduled sticky/b"), "")
		add("no MAC lets go", seq(open, change(func(s *server) { s.unresolved = true })), [][]byte{st(1, 2, syn)}, list("scheduled sticky/b"), "")
		add("another generation lets go", seq(open, change(func(s *server) { s.generation++; s.load = new(sched.Load) })), [][]byte{st(1, 2, syn)}, list("scheduled sticky/b"), "")
		add("the old connection does not feed the new server's template",
			seq(open, change(func(s *server) { s.weight = 0 }), func(r *rig) { r.one(st(1, 2, syn)) }, advance(30_000)),
			[][]byte{st(1, 1000, ack)}, list("known sticky/a"), "NONE 31000")
		add("a segment out of nowhere follows it", open, [][]byte{st(1, 9, ack), st(1, 9, ack)}, list("persisted sticky/a", "known sticky/a"), "")
		add("an end out of nowhere follows it", open, [][]byte{st(1, 9, fin), st(1, 9, rst)}, list("persisted sticky/a", "persisted sticky/a"), "")
		add("a full server keeps its clients", seq(open, func(r *rig) { r.server(f.stick+"/a").load.SetThresholds(1, 0) }),
			[][]byte{st(1, 2, syn), st(257, 1, syn)}, list("persisted sticky/a", "scheduled sticky/b"), "")
		if !f.v6 {
			second := tcp(f.client(1, 5), strings.Replace(f.sticky, "7000", "7001", 1), syn)
			add("all ports of the service", open, [][]byte{second}, list("persisted sticky/a"), "")
		}
	}
	runCases(t, 100, 50, cases)
}

// With no room for its connections a client keeps its server all the same: for
// syn and segment alike, else the server would see half a connection.
func TestProcessPersistenceWithoutRoom(t *testing.T) {
	for _, f := range families() {
		r := newRig(t, 40, 10) // 4 half-open entries
		st := f.stickyTCP
		r.send(st(1, 1, syn), st(1, 1, ack)) // its server is a
		for n := 0; ; n++ {
			r.one(f.tcp(600+n, 1, syn))
			if have, bound := r.table.HalfOpen(); have == bound {
				break
			}
		}
		for port := 100; port < 130; port++ {
			want := f.wants("persisted sticky/a")[0]
			for _, flags := range []uint8{syn, ack, ack | psh, fin | ack} {
				if got := r.one(st(1, port, flags)); got != want {
					t.Errorf("%s port %d flags %#x: %s, want %s", f.name, port, flags, got, want)
				}
			}
		}
		r.balanced()
	}
}
