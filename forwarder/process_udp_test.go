package forwarder

import (
	"net/netip"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
)

func TestProcessUDP(t *testing.T) {
	var cases []processCase
	for _, f := range families() {
		q := f.udp(1, 1000)
		add := func(name string, setup func(*rig), in [][]byte, want []string, after func(*rig)) {
			cases = append(cases, processCase{f.name + " " + name, setup, in, f.wants(want...), after})
		}
		halfOpen := func(want int) func(*rig) {
			return func(r *rig) {
				if n, _ := r.table.HalfOpen(); n != want {
					r.t.Errorf("%d half-open entries, want %d", n, want)
				}
			}
		}
		add("first datagram is unconfirmed", nil, [][]byte{q}, []string{"scheduled dns/a"}, halfOpen(1))
		add("second datagram confirms", nil, [][]byte{q, q}, []string{"scheduled dns/a", "known dns/a"}, halfOpen(0))
		add("two clients", nil, [][]byte{q, f.udp(2, 1000)}, []string{"scheduled dns/a", "scheduled dns/b"}, nil)
		add("a client's two ports", nil, [][]byte{q, f.udp(1, 1001)}, []string{"scheduled dns/a", "scheduled dns/b"}, nil)
		add("tcp to the udp service", nil, [][]byte{tcp(f.client(1, 1), f.dns, syn)}, []string{"no-service"}, nil)
	}
	q := udp("198.51.0.1:1000", vip4+":5353")
	cases = append(cases,
		processCase{"every packet is scheduled by itself", nil, [][]byte{q, q, q},
			[]string{"one-packet one/a", "one-packet one/b", "one-packet one/a"},
			func(r *rig) {
				if r.table.Len() != 0 {
					r.t.Errorf("%d entries", r.table.Len())
				}
				r.core.books.publish(&r.counters)
				if n := r.server("one/a").stats.Connections.Load(); n != 2 {
					r.t.Errorf("%d connections are counted, want 2", n)
				}
			}},
		processCase{"one-packet without servers", func(r *rig) {
			r.server("one/a").refusing, r.server("one/b").refusing = true, true
			r.rebuild()
		}, [][]byte{q}, []string{"no-server"}, nil},
	)
	runCases(t, 100, 50, cases)
}

func TestProcessFragments(t *testing.T) {
	var cases []processCase
	for _, f := range families() {
		add := func(name string, setup func(*rig), in [][]byte, want ...string) {
			cases = append(cases, processCase{f.name + " " + name, setup, in, f.wants(want...), nil})
		}
		first, later := fragments(f.udp(1, 1000), 7)
		add("in order", nil, [][]byte{first, later, later}, "scheduled dns/a", "followed dns/a", "followed dns/a")
		add("later one first", nil, [][]byte{later, first, later}, "unknown-fragment", "scheduled dns/a", "followed dns/a")
		_, other := fragments(f.udp(1, 1000), 8)
		add("of another packet", nil, [][]byte{first, other}, "scheduled dns/a", "unknown-fragment")
		_, foreign := fragments(f.udp(2, 1000), 7)
		add("of another client", nil, [][]byte{first, foreign}, "scheduled dns/a", "unknown-fragment")
		first2, later2 := fragments(f.udp(1, 1001), 7)
		add("identification used again", nil, [][]byte{first, first2, later2}, "scheduled dns/a", "scheduled dns/b", "followed dns/b")
		add("of a known connection", nil, [][]byte{f.udp(1, 1000), first, later}, "scheduled dns/a", "known dns/a", "followed dns/a")
		firstT, laterT := fragments(f.tcp(1, 1000, syn), 9)
		add("tcp", nil, [][]byte{firstT, laterT}, "scheduled web/a", "followed web/a")
		firstA, laterA := fragments(f.tcp(1, 1000, ack), 9)
		add("tcp out of nowhere", nil, [][]byte{firstA, laterA}, "fallback mh", "followed "+hashedFragment(f, firstA))
		firstF, laterF := fragments(f.tcp(1, 1000, fin), 9)
		add("fin out of nowhere", nil, [][]byte{firstF, laterF}, "fallback mh", "followed "+hashedFragment(f, firstF))
		add("too late", func(r *rig) { r.one(first); r.now += 31_000 }, [][]byte{later}, "unknown-fragment")
		add("in time", func(r *rig) { r.one(first); r.now += 30_999 }, [][]byte{later}, "followed dns/a")
		gone := func(change func(*server)) func(*rig) {
			return func(r *rig) { r.one(first); change(r.server(f.dnsS + "/a")); r.rebuild() }
		}
		add("of a removed server", gone(func(s *server) { s.removed = true }), [][]byte{later}, "unknown-fragment")
		add("of a cut server", gone(func(s *server) { s.cut = true }), [][]byte{later}, "unknown-fragment")
		add("of a quiesced server", gone(func(s *server) { s.weight = 0 }), [][]byte{later}, "followed dns/a")
		add("of a server without MAC", gone(func(s *server) { s.unresolved = true }), [][]byte{later}, "no-neighbour")
	}
	one, two := fragments(udp("198.51.0.1:1000", vip4+":5353"), 7)
	cases = append(cases, processCase{"of a one-packet service", nil, [][]byte{one, two, one, two},
		[]string{"one-packet one/a", "followed one/a", "one-packet one/b", "followed one/b"}, nil})
	_, stray := fragments(udp("198.51.0.1:1000", "192.0.2.99:53"), 7)
	cases = append(cases, processCase{"to no VIP", nil, [][]byte{stray}, []string{"not-vip"}, nil})
	runCases(t, 100, 50, cases)
}

// hashedFragment knows the pick of the consistent hash before there is a rig.
func hashedFragment(f family, eth []byte) string {
	r := &rig{specs: standardSpecs(), active: true, idle: idleTimes()}
	r.snap = r.build()
	return r.hashed(eth)
}

func TestProcessICMP(t *testing.T) {
	var cases []processCase
	for _, f := range families() {
		add := func(name string, setup func(*rig), in [][]byte, want ...string) {
			cases = append(cases, processCase{f.name + " " + name, setup, in, f.wants(want...), nil})
		}
		seg, q := f.tcp(1, 1000, syn), f.udp(1, 1000)
		typ := uint8(3)
		if f.v6 {
			typ = 2 // packet too big
		}
		add("about a tcp connection", establish(f, 1, 1000), [][]byte{icmpError(seg, typ)}, "related web/a")
		add("about a udp connection", nil, [][]byte{q, icmpError(q, typ)}, "scheduled dns/a", "related dns/a")
		add("about an unknown connection", nil, [][]byte{icmpError(seg, typ)}, "related mh")
		add("to a port without service", nil, [][]byte{icmpError(udp(f.client(1, 1), f.web), typ)}, "no-service")
		add("about a server without MAC", func(r *rig) {
			establish(f, 1, 1000)(r)
			r.change(f.webS+"/a", func(s *server) { s.unresolved = true })
		}, [][]byte{icmpError(seg, typ)}, "no-neighbour")
		add("about a removed server", func(r *rig) {
			establish(f, 1, 1000)(r)
			r.change(f.webS+"/a", func(s *server) { s.removed = true })
		}, [][]byte{icmpError(seg, typ)}, "related web/b")
		add("leaves state and deadline alone", func(r *rig) {
			establish(f, 1, 1000)(r)
			r.now += 900_500
			r.one(icmpError(seg, typ))
			r.wantEntry(seg, "ESTABLISHED 500")
		}, nil)
		add("echo request", nil, [][]byte{echo(f.host(1), f.vip)}, "echo-reply")
		notVIP := "192.0.2.98"
		if f.v6 {
			notVIP = "2001:db8:1::98"
		}
		add("echo request to no VIP", nil, [][]byte{echo(f.host(1), notVIP)}, "not-vip")
		add("echo request from the VIP", nil, [][]byte{echo(f.vip, f.vip)}, "martian")
		e1, e2 := fragments(echoLong(f), 3)
		add("echo request in fragments", nil, [][]byte{e1, e2}, "echo-fragment", "unknown-fragment")
	}
	runCases(t, 100, 50, cases)
}

func echoLong(f family) []byte {
	proto := uint8(frame.ProtoICMP)
	body := append([]byte{8, 0, 0, 0, 0, 7, 0, 9}, make([]byte, 40)...)
	if f.v6 {
		proto, body[0] = frame.ProtoICMPv6, 128
	}
	return ip(netip.MustParseAddr(f.host(1)), netip.MustParseAddr(f.vip), proto, body)
}
