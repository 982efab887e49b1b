package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

// sample is a frame, or several of one packet, that the director has to carry.
type sample struct {
	name   string
	frames [][]byte
}

// testFrames sends frames of all kinds: what arrives at a real server is the same
// from the Ethernet type on, and arrives once.
func testFrames(t *testing.T, r *rig) {
	servers, stop := r.captureServers()
	defer stop()
	each(t, func(t *testing.T, fam farm.Family) {
		m := r.maker(t, fam, rrVIP)
		samples := m.tcpSamples()
		m.dst = r.maker(t, fam, webVIP).dst
		samples = append(samples, m.udpSamples()...)
		samples = append(samples, m.errorSamples()...)
		if fam == 4 {
			samples = append(samples, m.samples4()...)
		} else {
			samples = append(samples, m.samples6()...)
		}
		for _, s := range samples {
			t.Run(s.name, func(t *testing.T) { r.carried(t, servers, s) })
		}
	})
}

// captureServers listens at every real server until stop.
func (r *rig) captureServers() (servers map[string]*netlab.Capture, stop func()) {
	servers = map[string]*netlab.Capture{}
	for _, n := range r.EPS {
		servers[n.Name()] = n.Capture("eth0")
	}
	return servers, func() {
		for _, c := range servers {
			c.Stop()
		}
	}
}

// carried sends the frames of a sample and waits for them behind the director.
func (r *rig) carried(t *testing.T, servers map[string]*netlab.Capture, s sample) {
	t.Helper()
	before := r.reasons(t)
	at := ""
	for i, f := range s.frames {
		if err := r.Router1.Send("eth1", f); err != nil {
			t.Fatal(err)
		}
		var seen []string
		var got netlab.Frame
		look := func() bool {
			seen = nil
			for name, c := range servers {
				for _, g := range c.Select(func(g netlab.Frame) bool { return !g.Outgoing && len(g.Data) > 12 && bytes.Equal(g.Data[12:], f[12:]) }) {
					seen, got = append(seen, name), g
				}
			}
			return len(seen) > 0
		}
		if err := farm.Await(within(t), look); err != nil {
			t.Fatalf("frame %d did not arrive, or changed:\n%s\ncounted since: %v", i+1, hex.Dump(f), gain(before, r.reasons(t)))
		}
		if len(seen) != 1 {
			t.Errorf("frame %d arrived at %v, want once", i+1, seen)
		}
		if at != "" && seen[0] != at {
			t.Errorf("frame %d went to %s, those before it to %s", i+1, seen[0], at)
		}
		at = seen[0]
		if want := r.director.MAC(r.ServerDev); !bytes.Equal(got.Data[6:12], want) {
			t.Errorf("frame %d came from % x, want the director's % x", i+1, got.Data[6:12], want)
		}
	}
}

// gain is what was counted in between.
func gain(before, after map[string]uint64) string {
	diff := map[string]uint64{}
	for k, n := range after {
		if n > before[k] {
			diff[k] = n - before[k]
		}
	}
	return fmt.Sprint(diff)
}

func (m *maker) tcpSamples() []sample {
	seg := func(port layers.TCPPort, set func(*layers.TCP), payload string) []byte {
		tcp := &layers.TCP{SrcPort: port, DstPort: 80, Seq: 1000, Window: 65535}
		set(tcp)
		return m.frame(m.ip(layers.IPProtocolTCP), tcp, gopacket.Payload(payload))
	}
	syn := func(c *layers.TCP) { c.SYN = true }
	options := func(c *layers.TCP) {
		c.SYN = true
		c.Options = []layers.TCPOption{
			{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}},
			{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte("12345678")},
			{OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
		}
	}
	odd := seg(20003, func(c *layers.TCP) { c.SYN, c.ECE, c.CWR, c.URG, c.Urgent = true, true, true, true, 9 }, "data on a SYN, of odd length")
	wrong := seg(20004, syn, "a wrong checksum is the server's business")
	wrong[len(wrong)-1] ^= 1
	short := seg(20005, syn, "")
	padded := append(short, make([]byte, max(0, 60-len(short)))...)
	copy(padded[len(short):], "padding!")
	return []sample{
		{"tcp syn", [][]byte{seg(20001, syn, "")}},
		{"tcp with options", [][]byte{seg(20002, options, "")}},
		{"tcp connection", [][]byte{
			seg(20010, syn, ""),
			seg(20010, func(c *layers.TCP) { c.ACK, c.PSH, c.Ack = true, true, 7 }, "GET / HTTP/1.0\r\n\r\n"),
			seg(20010, func(c *layers.TCP) { c.ACK, c.FIN, c.Ack = true, true, 7 }, ""),
			seg(20010, func(c *layers.TCP) { c.RST = true }, ""),
		}},
		{"tcp odd flags and length", [][]byte{odd}},
		{"tcp wrong checksum", [][]byte{wrong}},
		{"ethernet padding", [][]byte{padded}},
		{"tcp full frame", [][]byte{seg(20006, syn, string(bytes.Repeat([]byte("x"), 1400)))}},
	}
}

func (m *maker) udpSamples() []sample {
	dgram := func(port layers.UDPPort, payload string) []byte {
		return m.frame(m.ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: port, DstPort: echoPort}, gopacket.Payload(payload))
	}
	out := []sample{
		{"udp", [][]byte{dgram(21001, "a question")}},
		{"udp empty", [][]byte{dgram(21002, "")}},
	}
	big := dgram(21003, string(bytes.Repeat([]byte("fragment"), 500)))
	if m.fam == 6 {
		return append(out, sample{"fragments", fragments6(big, 1232, 4711)},
			sample{"atomic fragment", fragments6(dgram(21004, "all of it"), 1232, 4712)})
	}
	bare := dgram(21005, "without a checksum")
	bare[14+20+6], bare[14+20+7] = 0, 0
	return append(out, sample{"fragments", fragments4(big, 1480)}, sample{"udp without checksum", [][]byte{bare}})
}

// errorSamples are ICMP errors about a packet that a server sent to the client.
func (m *maker) errorSamples() []sample {
	udp := &layers.UDP{SrcPort: 22001, DstPort: echoPort}
	open := m.frame(m.ip(layers.IPProtocolUDP), udp, gopacket.Payload("a connection to complain about"))
	back := *m
	back.src, back.dst = m.dst, m.src
	reply := back.frame(back.ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: echoPort, DstPort: 22001}, gopacket.Payload("the answer that did not arrive"))[14:]
	var out []sample
	add := func(name string, frame []byte) { out = append(out, sample{name, [][]byte{open, frame}}) }
	if m.fam == 4 {
		for _, c := range []struct {
			name string
			code layers.ICMPv4TypeCode
			next uint16
		}{
			{"port unreachable", layers.CreateICMPv4TypeCode(3, 3), 0},
			{"fragmentation needed", layers.CreateICMPv4TypeCode(3, 4), 1400},
			{"time exceeded", layers.CreateICMPv4TypeCode(11, 0), 0},
			{"parameter problem", layers.CreateICMPv4TypeCode(12, 0), 0},
		} {
			open = m.frame(m.ip(layers.IPProtocolUDP), udp, gopacket.Payload("about to get: "+c.name))
			add(c.name, m.frame(m.ip(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: c.code, Seq: c.next}, gopacket.Payload(reply)))
		}
		return out
	}
	for _, c := range []struct {
		name  string
		code  layers.ICMPv6TypeCode
		param []byte
	}{
		{"unreachable", layers.CreateICMPv6TypeCode(1, 4), []byte{0, 0, 0, 0}},
		{"packet too big", layers.CreateICMPv6TypeCode(2, 0), []byte{0, 0, 5, 100}},
		{"time exceeded", layers.CreateICMPv6TypeCode(3, 0), []byte{0, 0, 0, 0}},
		{"parameter problem", layers.CreateICMPv6TypeCode(4, 1), []byte{0, 0, 0, 6}},
	} {
		open = m.frame(m.ip(layers.IPProtocolUDP), udp, gopacket.Payload("about to get: "+c.name))
		add(c.name, m.frame(m.ip(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: c.code}, gopacket.Payload(append(c.param, reply...))))
	}
	return out
}

func (m *maker) samples4() []sample {
	with := func(port layers.UDPPort, set func(*layers.IPv4)) [][]byte {
		ip := m.ip4(layers.IPProtocolUDP)
		set(ip)
		return [][]byte{m.frame(ip, &layers.UDP{SrcPort: port, DstPort: echoPort}, gopacket.Payload("unusual"))}
	}
	option := func(list ...layers.IPv4Option) func(*layers.IPv4) {
		return func(ip *layers.IPv4) { ip.Options = list }
	}
	nop := layers.IPv4Option{OptionType: 1}
	return []sample{
		{"option router alert", with(23001, option(layers.IPv4Option{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}))},
		{"option nop", with(23002, option(nop, nop, nop, nop))},
		{"option timestamp", with(23003, option(layers.IPv4Option{OptionType: 68, OptionLength: 12, OptionData: []byte{5, 0, 0, 0, 0, 0, 0, 0, 0, 0}}))},
		{"option record route", with(23004, option(nop, layers.IPv4Option{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}))},
		{"last hop", with(23005, func(ip *layers.IPv4) { ip.TTL = 1 })},
		{"class, congestion, do not fragment", with(23006, func(ip *layers.IPv4) { ip.TOS, ip.Flags = 0xb9|3, layers.IPv4DontFragment })},
		{"reserved flag", with(23007, func(ip *layers.IPv4) { ip.Flags = layers.IPv4EvilBit })},
	}
}

func (m *maker) samples6() []sample {
	udp := func(port layers.UDPPort, ip *layers.IPv6, more ...gopacket.SerializableLayer) [][]byte {
		list := append([]gopacket.SerializableLayer{ip}, more...)
		return [][]byte{m.frame(append(list, &layers.UDP{SrcPort: port, DstPort: echoPort}, gopacket.Payload("unusual"))...)}
	}
	raw := func(next layers.IPProtocol, rest ...byte) gopacket.SerializableLayer {
		return gopacket.Payload(append([]byte{byte(next)}, rest...))
	}
	alert := []byte{0, 5, 2, 0, 0, 1, 0} // length 0, router alert, PadN
	dest := []byte{0, 1, 4, 0, 0, 0, 0}
	class := m.ip6(layers.IPProtocolUDP)
	class.TrafficClass, class.FlowLabel, class.HopLimit = 0xbb, 0xabcde, 1
	return []sample{
		{"hop-by-hop", udp(24001, m.ip6(layers.IPProtocolIPv6HopByHop), raw(layers.IPProtocolUDP, alert...))},
		{"destination options", udp(24002, m.ip6(layers.IPProtocolIPv6Destination), raw(layers.IPProtocolUDP, dest...))},
		{"both", udp(24003, m.ip6(layers.IPProtocolIPv6HopByHop), raw(layers.IPProtocolIPv6Destination, alert...), raw(layers.IPProtocolUDP, dest...))},
		{"routing header at its end", udp(24004, m.ip6(layers.IPProtocolIPv6Routing), raw(layers.IPProtocolUDP, 0, 4, 0, 0, 0, 0, 0))},
		{"class, flow label, last hop", udp(24005, class)},
	}
}
