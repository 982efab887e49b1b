package health

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/bench/netlab"
)

func TestPing(t *testing.T) {
	noLeak(t)
	lab := netlab.New(t)
	a, b := lab.Node("a"), lab.Node("b")
	sw := lab.Switch("lan")
	sw.Attach(a, "eth0", "192.0.2.1/24", "2001:db8::1/64")
	sw.Attach(b, "eth0", "192.0.2.2/24", "2001:db8::2/64")
	// A new namespace allows ping sockets to nobody, so raw sockets come first.
	for _, mode := range []struct{ name, group string }{{"raw socket", ""}, {"ping socket", "0 0"}} {
		if mode.group != "" {
			a.Sysctl("net.ipv4.ping_group_range", mode.group)
		}
		for _, tt := range []struct {
			name, addr string
			timeout    time.Duration
			outcome    Outcome
			text       string
		}{
			{"v4", "192.0.2.2", 5 * time.Second, Pass, "echo reply"},
			{"v6", "2001:db8::2", 5 * time.Second, Pass, "echo reply"},
			{"own v4", "192.0.2.1", 5 * time.Second, Pass, "echo reply"},
			{"own v6", "::1", 5 * time.Second, Pass, "echo reply"},
			{"v4 nobody", "192.0.2.9", 100 * time.Millisecond, Fail, "timeout after 100ms while waiting for the echo reply"},
			{"v6 nobody", "2001:db8::9", 100 * time.Millisecond, Fail, "timeout after 100ms while waiting for the echo reply"},
			{"v4 no route", "198.51.100.1", 5 * time.Second, Fail, "network is unreachable"},
			{"v6 no route", "2001:db8:1::1", 5 * time.Second, Fail, "network is unreachable"},
		} {
			t.Run(mode.name+"/"+tt.name, func(t *testing.T) {
				var r Result
				a.Do(func() error {
					p := &probe{Target: Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(tt.addr), 0)}}
					g, err := p.openPinger()
					if err != nil {
						return err
					}
					defer g.file.Close()
					if g.raw != (mode.name == "raw socket") {
						t.Errorf("raw is %v", g.raw)
					}
					r = check(t, Target{Addr: p.Addr, Spec: Spec{Type: Ping, Interval: time.Minute, Timeout: tt.timeout}})
					return nil
				})
				want(t, r, tt.outcome, tt.text)
			})
		}
	}
}

// Only the reply with our sequence number, token and (on a raw socket) id, from
// the address that was asked, counts.
func TestPingAnswers(t *testing.T) {
	echo := &icmp.Echo{ID: 7, Seq: 9, Data: []byte("sixteen bytes ok")}
	v4 := &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}}
	v6 := &unix.SockaddrInet6{Addr: netip.MustParseAddr("2001:db8::1").As16()}
	marshal := func(typ icmp.Type, id, seq int, data string) []byte {
		b, err := (&icmp.Message{Type: typ, Body: &icmp.Echo{ID: id, Seq: seq, Data: []byte(data)}}).Marshal(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	header := append([]byte{0x45}, make([]byte, 19)...)
	options := append([]byte{0x46}, make([]byte, 23)...)
	good4 := marshal(ipv4.ICMPTypeEchoReply, 7, 9, "sixteen bytes ok")
	good6 := marshal(ipv6.ICMPTypeEchoReply, 7, 9, "sixteen bytes ok")
	for _, tt := range []struct {
		name string
		raw  bool
		from unix.Sockaddr
		b    []byte
		want bool
	}{
		{"v4", false, v4, good4, true},
		{"v4 raw", true, v4, append(header[:20:20], good4...), true},
		{"v4 raw with IP options", true, v4, append(options[:24:24], good4...), true},
		{"v6", false, v6, good6, true},
		{"v6 raw", true, v6, good6, true},
		{"a ping socket's id is the kernel's", false, v4, marshal(ipv4.ICMPTypeEchoReply, 8, 9, "sixteen bytes ok"), true},
		{"raw with another id", true, v6, marshal(ipv6.ICMPTypeEchoReply, 8, 9, "sixteen bytes ok"), false},
		{"another sequence number", false, v4, marshal(ipv4.ICMPTypeEchoReply, 7, 10, "sixteen bytes ok"), false},
		{"another token", false, v4, marshal(ipv4.ICMPTypeEchoReply, 7, 9, "sixteen bytes no"), false},
		{"a request", false, v4, marshal(ipv4.ICMPTypeEcho, 7, 9, "sixteen bytes ok"), false},
		{"from elsewhere", false, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 2}}, good4, false},
		{"of the other family", false, v6, good4, false},
		{"empty", false, v4, nil, false},
		{"raw, empty", true, v4, nil, false},
		{"raw, half a header", true, v4, header[:10], false},
		{"raw, header longer than the packet", true, v4, append([]byte{0x4f}, make([]byte, 25)...), false},
		{"no source", false, nil, good4, false},
	} {
		to := netip.MustParseAddr("192.0.2.1")
		if _, ok := tt.from.(*unix.SockaddrInet6); ok {
			to = netip.MustParseAddr("2001:db8::1")
		}
		g := &pinger{to: to, raw: tt.raw}
		if got := g.answers(tt.b, tt.from, echo); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
