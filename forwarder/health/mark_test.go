package health

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/bench/netlab"
)

// The farm of these tests: a director and two real servers on one network. Both
// servers hold the same VIPs on lo. The director has a blackhole route for each
// VIP in its main table, as when it forwards, and for the marks 1 and 2 a table
// that leads to server 1 and 2.
const (
	vip4, vip6 = "203.0.113.80", "2001:db8:f::80"
	port       = 8080
)

func farm(t *testing.T) (director *netlab.Node, servers []*netlab.Node) {
	lab := netlab.New(t)
	director = lab.Node("director")
	sw := lab.Switch("lan")
	sw.Attach(director, "eth1", "192.0.2.1/24", "2001:db8::1/64")
	for i := 1; i <= 2; i++ {
		s := lab.Node(fmt.Sprint("eps", i))
		servers = append(servers, s)
		sw.Attach(s, "eth0", fmt.Sprintf("192.0.2.1%d/24", i), fmt.Sprintf("2001:db8::1%d/64", i))
		s.Sysctl("net.ipv4.conf.all.arp_ignore", "1")
		s.Sysctl("net.ipv4.conf.all.arp_announce", "2")
		s.Addr("lo", vip4+"/32", vip6+"/128")
	}
	for _, vip := range []string{vip4, vip6} {
		dst := netlink.NewIPNet(net.ParseIP(vip))
		must(t, director.Do(func() error {
			if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_BLACKHOLE}); err != nil {
				return fmt.Errorf("blackhole: %w", err)
			}
			link, err := netlink.LinkByName("eth1")
			if err != nil {
				return err
			}
			for i := 1; i <= 2; i++ {
				rule := netlink.NewRule()
				rule.Mark, rule.Table, rule.Priority = uint32(i), 100+i, 1000+i
				rule.Family = unix.AF_INET
				gw := net.IPv4(192, 0, 2, byte(10+i))
				if strings.Contains(vip, ":") {
					rule.Family = unix.AF_INET6
					gw = net.ParseIP(fmt.Sprintf("2001:db8::1%d", i))
				}
				if err := netlink.RuleAdd(rule); err != nil {
					return fmt.Errorf("rule: %w", err)
				}
				if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: gw, LinkIndex: link.Attrs().Index, Table: 100 + i}); err != nil {
					return fmt.Errorf("route: %w", err)
				}
			}
			return nil
		}))
	}
	return director, servers
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer makes a server say its name on a VIP: with HTTP status 200+i, and on UDP.
func answer(t *testing.T, s *netlab.Node, vip string, i int) {
	addr := netip.AddrPortFrom(netip.MustParseAddr(vip), port).String()
	ln, err := s.Listen("tcp", addr)
	must(t, err)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(10 * time.Second))
			if strings.HasPrefix(readHead(c), "GET ") {
				fmt.Fprintf(c, "HTTP/1.1 %d eps%d\r\nContent-Length: 0\r\n\r\n", 200+i, i)
			} else {
				fmt.Fprintf(c, "this is eps%d\r\n", i)
			}
			c.Close()
		}
	}()
	pc, err := s.ListenPacket("udp", addr)
	must(t, err)
	go func() {
		b := make([]byte, 100)
		for {
			_, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			pc.WriteTo(fmt.Appendf(nil, "this is eps%d", i), from)
		}
	}()
	t.Cleanup(func() { ln.Close(); pc.Close() })
}

// Each mark reaches its own server, though all ask for the same address.
func TestMarkChoosesServer(t *testing.T) {
	director, servers := farm(t)
	for i, s := range servers {
		answer(t, s, vip4, i+1)
		answer(t, s, vip6, i+1)
	}
	const long = 10 * time.Second
	for _, vip := range []string{vip4, vip6} {
		for i := 1; i <= 2; i++ {
			other := fmt.Sprint("this is eps", 3-i)
			me := fmt.Sprint("this is eps", i)
			for _, tt := range []struct {
				spec    Spec
				outcome Outcome
				text    string
			}{
				{Spec{Type: TCP}, Pass, "connected"},
				{Spec{Type: TCP, Send: "who?\r\n\r\n", Expect: me}, Pass, "answered as expected"},
				{Spec{Type: TCP, Send: "who?\r\n\r\n", Expect: other}, Fail, fmt.Sprintf("answered %q, want %q", me+"\r\n", other)},
				{Spec{Type: HTTP, Status: []int{200 + i}}, Pass, fmt.Sprintf("HTTP status %d", 200+i)},
				{Spec{Type: HTTP, Status: []int{203 - i}}, Fail, fmt.Sprintf("HTTP status %d, want %d", 200+i, 203-i)},
				{Spec{Type: UDP, Send: "who?", Expect: me}, Pass, "answered as expected"},
				{Spec{Type: Ping}, Pass, "echo reply"},
			} {
				tt.spec.Interval, tt.spec.Timeout = long, long
				x := Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(vip), port), Mark: uint32(i), Spec: tt.spec}
				var r Result
				must(t, director.Do(func() error { r = check(t, x); return nil }))
				if r.Outcome != tt.outcome || r.Text != tt.text {
					t.Errorf("%s mark %d %s: got %v %q, want %v %q", vip, i, tt.spec.Type, r.Outcome, r.Text, tt.outcome, tt.text)
				}
			}
		}
	}
}

// A ping is answered by the marked server alone: without its VIP there is no reply.
func TestMarkPing(t *testing.T) {
	director, servers := farm(t)
	servers[1].AddrDel("lo", vip4+"/32")
	servers[1].AddrDel("lo", vip6+"/128")
	for _, group := range []string{"", "0 0"} { // raw sockets, then ping sockets
		if group != "" {
			director.Sysctl("net.ipv4.ping_group_range", group)
		}
		for _, vip := range []string{vip4, vip6} {
			for mark, outcome := range map[uint32]Outcome{1: Pass, 2: Fail} {
				x := Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(vip), 0), Mark: mark, Spec: Spec{Type: Ping, Timeout: 300 * time.Millisecond}}
				if outcome == Pass {
					x.Spec.Interval, x.Spec.Timeout = 10*time.Second, 10*time.Second
				}
				var r Result
				must(t, director.Do(func() error { r = check(t, x); return nil }))
				if r.Outcome != outcome {
					t.Errorf("%s mark %d, ping_group_range %q: %v %q, want %v", vip, mark, group, r.Outcome, r.Text, outcome)
				}
			}
		}
	}
}

// Without the rule for its mark a check runs into the VIP's blackhole. That is
// this host's fault, so it says so and condemns no server.
func TestMarkWithoutRule(t *testing.T) {
	director, _ := farm(t)
	for _, vip := range []string{vip4, vip6} {
		for _, typ := range []string{TCP, HTTP, UDP, Ping} {
			x := Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(vip), port), Mark: 99, Spec: Spec{Type: typ}}
			var r Result
			must(t, director.Do(func() error { r = check(t, x); return nil }))
			if r.Outcome != Unsure || !strings.Contains(r.Text, "ip route get "+vip+" mark 99") {
				t.Errorf("%s %s: %v %q", vip, typ, r.Outcome, r.Text)
			}
		}
	}
}

// A server that lost its VIP refuses what it is sent, and is down by that.
func TestMarkServerWithoutVIP(t *testing.T) {
	director, servers := farm(t)
	answer(t, servers[0], vip4, 1)
	servers[1].AddrDel("lo", vip4+"/32")
	x := Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(vip4), port), Mark: 2, Spec: Spec{Type: TCP, Timeout: 300 * time.Millisecond}}
	var r Result
	must(t, director.Do(func() error { r = check(t, x); return nil }))
	if r.Outcome != Fail {
		t.Errorf("%v %q", r.Outcome, r.Text)
	}
}

// Replies come from the VIP. A director with rp_filter looks the VIP up in its
// own main table, finds the blackhole and drops them; one rule for the
// director's own address mends that without a mark.
func TestMarkAndReversePathFilter(t *testing.T) {
	director, servers := farm(t)
	answer(t, servers[0], vip4, 1)
	one := func(timeout time.Duration) (r Result) {
		x := Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(vip4), port), Mark: 1, Spec: Spec{Type: TCP, Interval: timeout, Timeout: timeout}}
		must(t, director.Do(func() error { r = check(t, x); return nil }))
		return r
	}
	for _, filter := range []string{"1", "2"} {
		director.Sysctl("net.ipv4.conf.eth1.rp_filter", filter)
		want(t, one(300*time.Millisecond), Fail, "timeout after 300ms while connecting")
		rule := netlink.NewRule()
		rule.Src = netlink.NewIPNet(net.IPv4(192, 0, 2, 1))
		rule.Dst = netlink.NewIPNet(net.ParseIP(vip4))
		rule.Family, rule.Table, rule.Priority = unix.AF_INET, 101, 2000
		must(t, director.Do(func() error { return netlink.RuleAdd(rule) }))
		want(t, one(10*time.Second), Pass, "connected")
		must(t, director.Do(func() error { return netlink.RuleDel(rule) }))
	}
}

// A machine without power answers no ARP or NDP. The kernel's own error about
// that must reach the check, also on UDP where silence alone would mean up.
func TestMarkDeadServer(t *testing.T) {
	director, servers := farm(t)
	director.Sysctl("net.ipv4.neigh.eth1.retrans_time_ms", "20")
	director.Sysctl("net.ipv6.neigh.eth1.retrans_time_ms", "20")
	servers[1].LinkDown("eth0")
	for _, group := range []string{"", "0 0"} { // raw sockets, then ping sockets
		if group != "" {
			director.Sysctl("net.ipv4.ping_group_range", group)
		}
		for _, vip := range []string{vip4, vip6} {
			for _, typ := range []string{TCP, HTTP, UDP, Ping} {
				x := Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(vip), port), Mark: 2, Spec: Spec{Type: typ}}
				text := "no route to host"
				if typ == Ping && group == "" {
					// Raw sockets are spared these errors, lest they be about another server.
					text = "timeout after 300ms while waiting for the echo reply"
					x.Spec.Timeout = 300 * time.Millisecond
				} else {
					x.Spec.Interval, x.Spec.Timeout = 20*time.Second, 20*time.Second
				}
				var r Result
				must(t, director.Do(func() error { r = check(t, x); return nil }))
				if r.Outcome != Fail || r.Text != text {
					t.Errorf("%s %s: got %v %q, want %q", vip, typ, r.Outcome, r.Text, text)
				}
			}
		}
	}
}
