package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

// testGuard makes the director's kernel a router. It still keeps out of the VIPs'
// traffic: every frame arrives once, and nothing comes back from it.
func testGuard(t *testing.T, r *rig) {
	defer r.route()()
	servers, stop := r.captureServers()
	defer stop()
	taps := map[string]*netlab.Capture{}
	for _, dev := range []string{"eth0", "eth1"} {
		taps[dev] = r.director.Capture(dev)
		defer taps[dev].Stop()
	}
	each(t, func(t *testing.T, fam farm.Family) {
		m := r.maker(t, fam, rrVIP)
		tcp := func(src, dst layers.TCPPort, set func(*layers.TCP), hops uint8) []byte {
			l := &layers.TCP{SrcPort: src, DstPort: dst, Window: 65535}
			set(l)
			ip := m.ip(layers.IPProtocolTCP)
			switch h := ip.(type) {
			case *layers.IPv4:
				h.TTL = hops
			case *layers.IPv6:
				h.HopLimit = hops
			}
			return m.frame(ip, l, gopacket.Payload("a request of its own"))
		}
		syn, ack := func(l *layers.TCP) { l.SYN = true }, func(l *layers.TCP) { l.ACK = true }
		var all [][]byte
		carry := func(name string, frame []byte) {
			r.carried(t, servers, sample{name, [][]byte{frame}})
			all = append(all, frame)
		}
		carry("syn", tcp(26001, 80, syn, 61))
		carry("unknown", tcp(26002, 80, ack, 61))
		carry("last hop", tcp(26003, 80, syn, 1))
		for _, f := range [][]byte{
			tcp(26004, 81, syn, 61), tcp(26005, 81, ack, 61), tcp(26006, 81, syn, 1),
			m.frame(m.ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: 26007, DstPort: 9}, gopacket.Payload("closed")),
		} {
			if err := r.Router1.Send("eth1", f); err != nil {
				t.Fatal(err)
			}
		}
		c := r.caller(fam, rrVIP)
		for range 20 {
			if _, _, err := c.Page(t.Context(), "/"); err != nil {
				t.Error(err)
			}
		}
		carry("the last one", tcp(26010, 80, syn, 61))
		for _, f := range all { // by now a second copy of the first ones would be there
			r.once(t, servers, f)
		}
	})
	for dev, c := range taps {
		for _, f := range c.Select(func(f netlab.Frame) bool { return f.Outgoing }) {
			if why := r.kernelSpoke(f.Data); why != "" {
				t.Errorf("%s: %s:\n%s", dev, why, hex.Dump(f.Data[:min(len(f.Data), 96)]))
			}
		}
	}
}

// route makes the director's kernel a router until the function is called that it
// returns.
func (r *rig) route() (undo func()) {
	was := map[string]string{}
	for _, key := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		was[key] = r.director.SysctlGet(key)
		r.director.Sysctl(key, "1")
	}
	return func() {
		for key, value := range was {
			r.director.Sysctl(key, value)
		}
	}
}

// once looks whether a frame arrived at one server once.
func (r *rig) once(t *testing.T, servers map[string]*netlab.Capture, f []byte) {
	t.Helper()
	n := 0
	for _, c := range servers {
		n += len(c.Select(func(g netlab.Frame) bool { return !g.Outgoing && len(g.Data) > 12 && bytes.Equal(g.Data[12:], f[12:]) }))
	}
	if n != 1 {
		t.Errorf("a frame arrived %d times, want once", n)
	}
}

// kernelSpoke says what is wrong with a frame that the director's kernel sent.
// Its health checks and neighbour discovery are as they should be.
func (r *rig) kernelSpoke(frame []byte) string {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		from, who := net.IP(arp.SourceProtAddress).String(), net.IP(arp.DstProtAddress).String()
		if arp.Operation == layers.ARPRequest && r.isVIP(who) && from != who { // svm-fwd's announcement has both
			return "it asked for a VIP, to forward"
		}
	}
	if ask, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok && r.isVIP(ask.TargetAddress.String()) {
		return "it asked for a VIP, to forward"
	}
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		switch icmp.TypeCode.Type() {
		case layers.ICMPv4TypeEchoRequest, layers.ICMPv4TypeEchoReply:
		default:
			return fmt.Sprintf("it sent ICMP %v", icmp.TypeCode)
		}
	}
	if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		if k := icmp.TypeCode.Type(); k < 128 || k == layers.ICMPv6TypeRedirect {
			return fmt.Sprintf("it sent ICMPv6 %v", icmp.TypeCode)
		}
	}
	tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok {
		return ""
	}
	if src := p.NetworkLayer().NetworkFlow().Src().String(); r.isVIP(src) {
		return "it spoke as the VIP"
	}
	if tcp.RST && tcp.DstPort != 80 {
		return "it sent a reset"
	}
	return ""
}

func (r *rig) isVIP(addr string) bool {
	for _, s := range r.cluster.Services {
		if s.VIP == addr {
			return true
		}
	}
	return false
}
