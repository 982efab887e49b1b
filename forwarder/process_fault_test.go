package forwarder

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// A frame for every fault there is.
func faultCases() []processCase {
	v4, v6 := families()[0], families()[1]
	seg4, seg6, q := v4.tcp(1, 1000, syn), v6.tcp(1, 1000, syn), v4.udp(1, 1000)
	err := icmpError(seg4, 3)
	tiny, _ := fragments(seg4, 3)
	tiny = tiny[:34+16]
	tiny[17] = 36
	opts := func(eth []byte, number byte, rest ...byte) []byte {
		out := inserted(eth, 54, append([]byte{eth[20]}, rest...)...)
		out[20] = number
		out[19] += byte(1 + len(rest))
		return out
	}
	drop := func(name string, eth []byte, fault frame.Fault) processCase {
		return processCase{name, nil, [][]byte{eth}, []string{fault.String()}, nil}
	}
	return []processCase{
		drop("short IPv4", seg4[:40], frame.FaultIPLength),
		drop("short tcp", with(seg4, 16, 0, 39), frame.FaultShort),
		drop("short udp", with(q, 16, 0, 27), frame.FaultShort),
		drop("empty frame", nil, frame.FaultShort),
		drop("half an Ethernet header", seg4[:7], frame.FaultShort),
		drop("vlan", inserted(seg4, 12, 0x81, 0, 0, 5), frame.FaultVLAN),
		drop("qinq", inserted(inserted(seg4, 12, 0x81, 0, 0, 5), 12, 0x88, 0xa8, 0, 6), frame.FaultVLAN),
		drop("broadcast", with(seg4, 0, 255, 255, 255, 255, 255, 255), frame.FaultNotUnicast),
		drop("multicast", with(seg6, 0, 0x33, 0x33), frame.FaultNotUnicast),
		drop("arp", with(seg4, 12, 8, 6), frame.FaultEtherType),
		drop("IP version", with(seg4, 14, 0x65), frame.FaultIPHeader),
		drop("IPv6 version", with(seg6, 14, 0x45), frame.FaultIPHeader),
		drop("header length", with(seg4, 14, 0x44), frame.FaultIPHeader),
		drop("IPv6 length", with(seg6, 18, 9), frame.FaultIPLength),
		drop("broken extension header", opts(seg6, 60, 99, 0, 0, 0, 0, 0, 0), frame.FaultExtension),
		drop("routing header", opts(seg6, 43, 0, 4, 1, 0, 0, 0, 0), frame.FaultRouting),
		drop("mapped source", with(seg6, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 198, 51, 0, 2), frame.FaultMapped),
		drop("tiny fragment", tiny, frame.FaultTinyFragment),
		drop("sctp", with(seg4, 23, 132), frame.FaultProtocol),
		drop("esp", with(seg6, 20, 50), frame.FaultProtocol),
		drop("tcp offset", with(seg4, 46, 0x40), frame.FaultTCPHeader),
		drop("redirect", with(err, 34, 5), frame.FaultICMPType),
		drop("echo reply", with(echo("198.51.0.1", vip4), 34, 0), frame.FaultICMPType),
		drop("neighbour solicitation", with(echo(v6.host(1), vip6), 54, 135), frame.FaultICMPType),
		drop("foreign quote", with(err, 34+8+12, 9), frame.FaultICMPQuote),
	}
}

func TestProcessFaults(t *testing.T) {
	cases := faultCases()
	seen := map[string]bool{"ok": true}
	for _, c := range cases {
		seen[c.want[0]] = true
	}
	for f := range frame.NumFaults {
		if !seen[f.String()] {
			t.Errorf("no case for the fault %v", f)
		}
	}
	for i := range cases { // nothing of it may depend on state, and standby counts it too
		c := cases[i]
		c.name += ", standby"
		c.setup = func(r *rig) { r.active = false; r.rebuild() }
		cases = append(cases, c)
	}
	runCases(t, 100, 50, cases)
}

func TestProcessMartians(t *testing.T) {
	var cases []processCase
	add := func(name, src, dst string) {
		in := [][]byte{tcp(src, dst, syn), tcp(src, dst, ack)}
		cases = append(cases, processCase{name, nil, in, []string{"martian", "martian"}, func(r *rig) {
			if r.table.Len() != 0 {
				r.t.Error("a martian got an entry")
			}
		}})
	}
	web, web6 := vip4+":80", "["+vip6+"]:80"
	add("LAND", web, web)
	add("from the VIP, another port", vip4+":81", web)
	add("from nobody", "0.0.0.0:1", web)
	add("from this network", "0.1.2.3:1", web)
	add("from loopback", "127.0.0.1:1", web)
	add("from a group", "224.0.0.1:1", web)
	add("from class E", "240.0.0.1:1", web)
	add("from broadcast", "255.255.255.255:1", web)
	add("IPv6 LAND", web6, web6)
	add("IPv6 from nobody", "[::]:1", web6)
	add("IPv6 from loopback", "[::1]:1", web6)
	add("IPv6 from a group", "[ff02::1]:1", web6)
	ok := func(name, src, dst, want string) {
		cases = append(cases, processCase{name, nil, [][]byte{tcp(src, dst, syn)}, []string{want}, nil})
	}
	ok("lowest client", "1.0.0.0:1", web, "scheduled web/a")
	ok("highest client", "223.255.255.255:65535", web, "scheduled web/a")
	ok("port 0", "1.0.0.1:0", web, "scheduled web/a")
	ok("IPv6 link-local client", "[fe80::1]:1", web6, "scheduled web6/a")
	ok("IPv6 lowest client", "[::2]:1", web6, "scheduled web6/a")
	runCases(t, 100, 50, cases)
}

func TestProcessPorts(t *testing.T) {
	var cases []processCase
	add := func(name, dst, want string) {
		cases = append(cases, processCase{name, nil, [][]byte{tcp("198.51.0.1:1", dst, syn)}, []string{want}, nil})
	}
	add("list, first", vip4+":80", "scheduled web/a")
	add("list, second", vip4+":443", "scheduled web/a")
	add("list, between", vip4+":444", "no-service")
	add("range, first", vip4+":8000", "scheduled range/a")
	add("range, middle", vip4+":8500", "scheduled range/a")
	add("range, last", vip4+":8999", "scheduled range/a")
	add("range, before", vip4+":7999", "no-service")
	add("range, behind", vip4+":9000", "no-service")
	add("any, lowest", vip4b+":1", "scheduled any/a")
	add("any, highest", vip4b+":65535", "scheduled any/a")
	add("any, not 0", vip4b+":0", "no-service")
	web := tcp("198.51.0.1:1", vip4+":80", syn)
	cases = append(cases, processCase{"two ports of a service are two connections", nil,
		[][]byte{web, tcp("198.51.0.1:1", vip4+":443", syn), web},
		[]string{"scheduled web/a", "scheduled web/b", "known web/a"}, nil})
	runCases(t, 100, 50, cases)
}

// A VLAN tag that the device took off is refused as one in the frame; a priority
// tag (VLAN 0) is no VLAN.
func TestProcessStrippedTags(t *testing.T) {
	for _, c := range []struct {
		name   string
		tagged bool
		tci    uint16
		want   string
	}{
		{"untagged", false, 0, "scheduled web/a"},
		{"untagged, TCI left over", false, 5, "scheduled web/a"},
		{"priority 0", true, 0, "scheduled web/a"},
		{"priority 7", true, 7 << 13, "scheduled web/a"},
		{"vlan 1", true, 1, "vlan"},
		{"vlan 4095 with priority", true, 3<<13 | 4095, "vlan"},
	} {
		r := newRig(t, 10, 50)
		eth := families()[0].tcp(1, 1000, syn)
		r.fill(eth)
		r.rx.Frames[0].Tagged, r.rx.Frames[0].TCI = c.tagged, c.tci
		if got := r.check([][]byte{eth})[0]; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestProcessStandby(t *testing.T) {
	var cases []processCase
	for _, f := range families() {
		down := func(r *rig) { establish(f, 1, 1000)(r); r.active = false; r.rebuild() }
		in := [][]byte{f.tcp(1, 1000, ack), f.tcp(2, 1, syn), f.udp(1, 1), echo(f.host(1), f.vip), icmpError(f.tcp(1, 1000, ack), 3-b2i(f.v6))}
		cases = append(cases, processCase{f.name, down, in, []string{"standby", "standby", "standby", "standby", "standby"}, nil})
		cases = append(cases, processCase{f.name + " back again", func(r *rig) { down(r); r.active = true; r.rebuild() },
			in[:1], f.wants("known web/a"), nil})
	}
	runCases(t, 100, 50, cases)
}

func b2i(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// Padding behind the IP packet stays, and is not counted.
func TestProcessPadding(t *testing.T) {
	r := newRig(t, 10, 50)
	eth := append(families()[0].tcp(1, 1000, syn), 0, 1, 2, 3, 4, 5)
	r.expect("scheduled web/a", eth)
	r.core.books.publish(&r.counters)
	s := r.server("web/a").stats
	if s.Packets.Load() != 1 || s.Bytes.Load() != 47 || s.Connections.Load() != 1 {
		t.Errorf("%d packets, %d bytes, %d connections", s.Packets.Load(), s.Bytes.Load(), s.Connections.Load())
	}
	if r.counters[Scheduled].Load() != 1 {
		t.Error("the reason is not counted")
	}
}

// A full batch of everything at once gives what the frames give one by one.
func TestProcessBatch(t *testing.T) {
	var frames [][]byte
	var want []string
	for _, c := range faultCases() {
		frames, want = append(frames, c.in[0]), append(want, c.want[0])
	}
	for _, f := range families() {
		first, later := fragments(f.udp(3, 3), 3)
		frames = append(frames, f.tcp(1, 1, syn), echo(f.host(1), f.vip), first, f.tcp(1, 1, ack), later, f.tcp(2, 1, syn),
			icmpError(f.tcp(1, 1, syn), 3-b2i(f.v6)))
		want = append(want, f.wants("scheduled web/a", "echo-reply", "scheduled dns/a", "known web/a", "followed dns/a", "scheduled web/b", "related web/a")...)
	}
	for len(frames) < pktio.BatchSize {
		frames, want = append(frames, families()[0].tcp(1, 1, ack)), append(want, "known web/a")
	}
	r := newRig(t, 100, 50)
	for i, got := range r.send(frames...) {
		if got != want[i] {
			t.Errorf("frame %d: %s, want %s", i, got, want[i])
		}
	}
	r.balanced()
	r.expect("known web/a", families()[0].tcp(1, 1, ack)) // a smaller batch after a full one
	r.send()
	if r.servers.N != 0 || r.clients.N != 0 {
		t.Error("an empty batch leaves frames of the one before")
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range NumReasons {
		s := r.String()
		if s == "" || s == "unknown" || seen[s] {
			t.Errorf("reason %d is called %q", r, s)
		}
		seen[s] = true
		if r.Verdict().String() == "" {
			t.Errorf("reason %v has a nameless verdict", r)
		}
	}
	if NumReasons.String() != "unknown" || Known != Reason(frame.NumFaults) {
		t.Error("the reasons' numbers")
	}
}
