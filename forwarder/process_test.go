package forwarder

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/sched"
)

// A processCase is one situation: what was before, what comes in, what becomes of
// it. Every byte that goes out is compared by rig.check. The word "mh" in a want
// stands for the server that the service's consistent hash picks for that frame.
type processCase struct {
	name  string
	setup func(r *rig)
	in    [][]byte
	want  []string
	after func(r *rig)
}

// family is what differs between IPv4 and IPv6 cases.
type family struct {
	v6                bool
	name              string
	web, dns, sticky  string // VIP and port
	webS, dnsS, stick string // service names
	vip               string
}

func families() []family {
	return []family{
		{false, "IPv4", vip4 + ":80", vip4 + ":53", vip4 + ":7000", "web", "dns", "sticky", vip4},
		{true, "IPv6", "[" + vip6 + "]:80", "[" + vip6 + "]:53", "[" + vip6 + "]:7000", "web6", "dns6", "sticky6", vip6},
	}
}

// client is the n-th client's address and port; its network is the n>>8-th.
func (f family) client(n int, port int) string {
	return netip.AddrPortFrom(netip.MustParseAddr(f.host(n)), uint16(port)).String()
}

func (f family) host(n int) string {
	if f.v6 {
		return fmt.Sprintf("2001:db8:9:%x::%x", n>>8, n&255)
	}
	return fmt.Sprintf("198.51.%d.%d", n>>8, n&255)
}

func (f family) tcp(n, port int, flags uint8) []byte { return tcp(f.client(n, port), f.web, flags) }
func (f family) udp(n, port int) []byte              { return udp(f.client(n, port), f.dns) }
func (f family) stickyTCP(n, port int, flags uint8) []byte {
	return tcp(f.client(n, port), f.sticky, flags)
}

// reverse replaces "web", "dns" and "sticky" by this family's service names.
func (f family) wants(list ...string) []string {
	if !f.v6 {
		return list
	}
	out := append([]string(nil), list...)
	for i := range out {
		for _, s := range []string{"web", "dns", "sticky"} {
			out[i] = strings.Replace(out[i], " "+s+"/", " "+s+"6/", 1)
		}
	}
	return out
}

// hashed names the server that the consistent hash picks for a frame.
func (r *rig) hashed(eth []byte) string {
	var p frame.Packet
	if f := frame.Parse(eth, &p); f != frame.OK {
		r.t.Fatalf("mh for a frame with fault %v", f)
	}
	s := r.snap.VIPs[p.Key.Dst()].Service(p.Key.Proto(), p.Key.DstPort())
	fl := flowOf(s, &p.Key)
	i := s.Stateless.Peek(&fl)
	if i == sched.None {
		return s.Name + "/none"
	}
	return s.Name + "/" + s.Backends[i].Name
}

// entry describes what the table knows of a frame's connection: state and the
// milliseconds that are left, or "none".
func (r *rig) entry(eth []byte) string {
	var p frame.Packet
	if f := frame.Parse(eth, &p); f != frame.OK {
		r.t.Fatalf("entry of a frame with fault %v", f)
	}
	return r.keyed(p.Key)
}

func (r *rig) keyed(k frame.Key) string {
	e, ok := r.table.Lookup(&k, r.table.Hash(&k))
	if !ok {
		return "none"
	}
	return fmt.Sprintf("%v %d", e.Meta.State(), r.now.Until(r.table.Deadline(e)))
}

func (r *rig) wantEntry(eth []byte, want string) {
	r.t.Helper()
	if got := r.entry(eth); got != want {
		r.t.Errorf("the entry is %q, want %q", got, want)
	}
}

func runCases(t *testing.T, capacity, halfOpen int, cases []processCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, capacity, halfOpen)
			if c.setup != nil {
				c.setup(r)
			}
			if len(c.in) != len(c.want) {
				t.Fatalf("%d frames, %d wants", len(c.in), len(c.want))
			}
			for i := range c.in { // one batch each; batches are tested apart
				want := c.want[i]
				if strings.HasSuffix(want, " mh") {
					want = strings.TrimSuffix(want, "mh") + r.hashed(c.in[i])
				}
				if got := r.one(c.in[i]); got != want {
					t.Errorf("frame %d: %s, want %s", i, got, want)
				}
			}
			if c.after != nil {
				c.after(r)
			}
			r.balanced()
		})
	}
}

// establish opens a connection as a client does.
func establish(f family, n, port int) func(r *rig) {
	return func(r *rig) { r.send(f.tcp(n, port, syn), f.tcp(n, port, ack)) }
}

func seq(steps ...func(r *rig)) func(r *rig) {
	return func(r *rig) {
		for _, s := range steps {
			s(r)
		}
	}
}

func advance(ms int) func(r *rig) { return func(r *rig) { r.now += flow.Tick(ms) } }

func TestProcessTCP(t *testing.T) {
	var cases []processCase
	for _, f := range families() {
		a, b := f.tcp(1, 1000, syn), f.tcp(2, 1000, syn)
		next := func(flags uint8) []byte { return f.tcp(1, 1000, flags) }
		add := func(name string, setup func(*rig), in [][]byte, want []string, after func(*rig)) {
			cases = append(cases, processCase{f.name + " " + name, setup, in, f.wants(want...), after})
		}
		state := func(want string) func(*rig) { return func(r *rig) { r.wantEntry(a, want) } }
		add("syn", nil, [][]byte{a}, []string{"scheduled web/a"}, state("SYN_RECV 61000"))
		add("two clients", nil, [][]byte{a, b}, []string{"scheduled web/a", "scheduled web/b"}, nil)
		add("syn again", nil, [][]byte{a, a}, []string{"scheduled web/a", "known web/a"}, state("SYN_RECV 61000"))
		add("handshake", nil, [][]byte{a, next(ack)}, []string{"scheduled web/a", "known web/a"}, state("ESTABLISHED 901000"))
		add("data", establish(f, 1, 1000), [][]byte{next(ack | psh), next(ack)}, []string{"known web/a", "known web/a"}, state("ESTABLISHED 901000"))
		add("no flags leave it half-open", nil, [][]byte{a, next(0)}, []string{"scheduled web/a", "known web/a"}, state("SYN_RECV 61000"))
		add("fin", establish(f, 1, 1000), [][]byte{next(fin | ack)}, []string{"known web/a"}, state("FIN_WAIT 121000"))
		add("fin then ack", establish(f, 1, 1000), [][]byte{next(fin | ack), next(ack)}, []string{"known web/a", "known web/a"}, state("FIN_WAIT 121000"))
		add("fin before established", nil, [][]byte{a, next(fin)}, []string{"scheduled web/a", "known web/a"}, state("TIME_WAIT 121000"))
		add("rst", establish(f, 1, 1000), [][]byte{next(rst)}, []string{"known web/a"}, state("CLOSE 11000"))
		add("rst while half-open", nil, [][]byte{a, next(rst)}, []string{"scheduled web/a", "known web/a"}, state("SYN_RECV 61000"))
		add("syn and rst is a rst", establish(f, 1, 1000), [][]byte{next(syn | rst)}, []string{"known web/a"}, state("CLOSE 11000"))
		add("syn on established", establish(f, 1, 1000), [][]byte{a}, []string{"known web/a"}, state("ESTABLISHED 901000"))
		for name, last := range map[string]uint8{"fin wait": fin | ack, "close": rst} {
			add("syn on "+name+" is scheduled afresh", establish(f, 1, 1000), [][]byte{next(last), a, next(ack)},
				[]string{"known web/a", "scheduled web/b", "known web/b"}, state("ESTABLISHED 901000"))
		}
		add("syn on time wait is scheduled afresh", nil, [][]byte{a, next(fin), a},
			[]string{"scheduled web/a", "known web/a", "scheduled web/b"}, state("SYN_RECV 61000"))
		add("rst on closing keeps it", establish(f, 1, 1000), [][]byte{next(fin | ack), next(rst)}, []string{"known web/a", "known web/a"}, state("CLOSE 11000"))
		add("ack out of nowhere", nil, [][]byte{next(ack), next(ack)}, []string{"fallback mh", "known mh"}, state("ESTABLISHED 901000"))
		add("fin out of nowhere", nil, [][]byte{next(fin | ack)}, []string{"fallback mh"}, state("none"))
		add("rst out of nowhere", nil, [][]byte{next(rst)}, []string{"fallback mh"}, state("none"))
		add("no flags out of nowhere", nil, [][]byte{next(0)}, []string{"fallback mh"}, state("SYN_RECV 61000"))
		add("another port is another connection", establish(f, 1, 1000), [][]byte{f.tcp(1, 1001, syn)}, []string{"scheduled web/b"}, nil)
		add("no service on the port", nil, [][]byte{tcp(f.client(1, 1), strings.Replace(f.web, ":80", ":81", 1), syn)}, []string{"no-service"}, nil)
		add("no service of the protocol", nil, [][]byte{udp(f.client(1, 1), f.web)}, []string{"no-service"}, nil)
		if f.v6 {
			add("not a VIP", nil, [][]byte{tcp(f.client(1, 1), "[2001:db8:1::101]:80", syn)}, []string{"not-vip"}, nil)
		} else {
			add("not a VIP", nil, [][]byte{tcp(f.client(1, 1), "192.0.2.99:80", syn)}, []string{"not-vip"}, nil)
		}
	}
	runCases(t, 100, 50, cases)
}

// Timeouts at their boundaries: an entry lives from its last writing for the
// timeout and its slack (an eighth, at most a second), and is written again once
// the slack is used up.
func TestProcessTimeouts(t *testing.T) {
	var cases []processCase
	for _, f := range families() {
		one := f.tcp(1, 1000, syn)
		in := func(flags uint8) [][]byte { return [][]byte{f.tcp(1, 1000, flags)} }
		add := func(name string, setup func(*rig), in [][]byte, want, entry string) {
			cases = append(cases, processCase{f.name + " " + name, setup, in, f.wants(want), func(r *rig) { r.wantEntry(in[0], entry) }})
		}
		synSent := func(r *rig) { r.one(one) }
		open := establish(f, 1, 1000)
		add("half-open, last moment", seq(synSent, advance(60_999)), in(ack), "known web/a", "ESTABLISHED 901000")
		add("half-open, over", seq(synSent, advance(61_000)), in(ack), "fallback mh", "SYN_RECV 61000")
		add("half-open, over, syn", seq(synSent, advance(61_000)), in(syn), "scheduled web/b", "SYN_RECV 61000")
		add("established, within the slack", seq(open, advance(999)), in(ack), "known web/a", "ESTABLISHED 900001")
		add("established, slack used", seq(open, advance(1000)), in(ack), "known web/a", "ESTABLISHED 900000")
		add("established, behind the slack", seq(open, advance(1001)), in(ack), "known web/a", "ESTABLISHED 901000")
		add("established, last moment", seq(open, advance(900_999)), in(ack), "known web/a", "ESTABLISHED 901000")
		add("established, over", seq(open, advance(901_000)), in(ack), "fallback mh", "SYN_RECV 61000")
		add("established, long over", seq(open, advance(1<<30)), in(ack), "fallback mh", "SYN_RECV 61000")
		closed := func(r *rig) { open(r); r.one(f.tcp(1, 1000, rst)) }
		add("close, last moment", seq(closed, advance(10_999)), in(ack), "known web/a", "CLOSE 11000")
		add("close, over", seq(closed, advance(11_000)), in(rst), "fallback mh", "none")
		query := f.udp(1, 1000)
		asked := func(r *rig) { r.one(query) }
		add("udp, last moment", seq(asked, advance(300_999)), [][]byte{query}, "known dns/a", "UDP 301000")
		add("udp, over", seq(asked, advance(301_000)), [][]byte{query}, "scheduled dns/b", "UDP 301000")
		shorter := func(r *rig) { r.idle[flow.Established] = 10_000; r.rebuild() }
		add("shorter timeout from a reload", seq(open, shorter), in(ack), "known web/a", "ESTABLISHED 11000")
	}
	// The clock's wrap.
	cases = append(cases, processCase{"across the wrap of the clock",
		func(r *rig) { r.now = 1<<32 - 30_000; establish(families()[0], 1, 1000)(r); r.now += 60_000 },
		[][]byte{families()[0].tcp(1, 1000, ack)}, []string{"known web/a"},
		func(r *rig) { r.wantEntry(families()[0].tcp(1, 1000, ack), "ESTABLISHED 901000") }})
	runCases(t, 100, 50, cases)
}
