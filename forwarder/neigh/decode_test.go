package neigh

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
)

// mend puts the right checksum into an NDP frame that a test changed.
func mend(f []byte) []byte {
	b := f[etherLen:]
	p := b[ip6Len : ip6Len+int(binary.BigEndian.Uint16(b[4:]))]
	p[2], p[3] = 0, 0
	binary.BigEndian.PutUint16(p[2:], checksum6(b[8:40], p))
	return f
}

func TestMalformed(t *testing.T) {
	ask4 := func() []byte { return arpAsk(peerMAC, peer4, vip4) }
	ask6 := func() []byte { return ndpAsk(peerMAC, peer6, vip6) }
	with := func(f []byte, at int, b ...byte) []byte { copy(f[at:], b); return f }
	const ip, icmp, opt = 14, 54, 78
	for _, c := range []struct {
		name string
		in   []byte
		why  Reason
	}{
		{"nothing", nil, Short},
		{"half an Ethernet header", ask4()[:13], Short},
		{"IPv4", with(ask4(), 12, 8, 0), NotNeighbor},
		{"VLAN tag", with(ask4(), 12, 0x81, 0), Tagged},
		{"provider tag", with(ask4(), 12, 0x88, 0xa8), Tagged},
		{"ARP, cut", ask4()[:41], Short},
		{"ARP, not Ethernet", with(ask4(), 14, 0, 6), BadARP},
		{"ARP, not IPv4", with(ask4(), 16, 0x86, 0xdd), BadARP},
		{"ARP, long MAC", with(ask4(), 18, 8), BadARP},
		{"ARP, long address", with(ask4(), 19, 16), BadARP},
		{"ARP, operation 0", with(ask4(), 21, 0), BadARP},
		{"RARP", with(ask4(), 21, 3), BadARP},
		{"ARP, zero MAC", with(ask4(), 22, 0, 0, 0, 0, 0, 0), BadMAC},
		{"ARP, multicast MAC", with(ask4(), 22, 1), BadMAC},
		{"ARP, broadcast MAC", with(ask4(), 22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), BadMAC},
		{"ARP, multicast sender", with(ask4(), 28, 224, 0, 0, 1), BadSender},
		{"ARP, broadcast sender", with(ask4(), 28, 255, 255, 255, 255), BadSender},
		{"ARP, loopback sender", with(ask4(), 28, 127, 0, 0, 1), BadSender},
		{"ARP reply from nobody", with(arpTell(clientMAC, peerMAC, peer4, vip4), 28, 0, 0, 0, 0), BadSender},
		{"IPv6, cut in the header", ask6()[:ip+39], Short},
		{"IPv6, cut in the message", ask6()[:opt+7], Short},
		{"IPv6, version 4", with(ask6(), ip, 0x40), BadIPv6},
		{"IPv6, extension header", with(ask6(), ip+6, 0), NotNeighbor},
		{"IPv6, too short for a solicitation", mend(with(ask6(), ip+4, 0, 23)), Short},
		{"IPv6, empty", with(ask6(), ip+4, 0, 0), Short},
		{"router advertisement", mend(with(ask6(), icmp, 134)), NotNeighbor},
		{"NDP, hop limit 254", with(ask6(), ip+7, 254), BadHopLimit},
		{"NDP, code 1", mend(with(ask6(), icmp+1, 1)), BadCode},
		{"NDP, checksum", with(ask6(), icmp+2, 1, 2), BadChecksum},
		{"NDP, multicast target", mend(with(ask6(), icmp+8, 0xff)), BadTarget},
		{"NDP, unspecified target", mend(with(ask6(), icmp+8, make([]byte, 16)...)), BadTarget},
		{"NDP, multicast sender", mend(with(ask6(), ip+8, 0xff)), BadSender},
		{"NDP, option of length 0", mend(with(ask6(), opt+1, 0)), BadOption},
		{"NDP, option too long", mend(with(ask6(), opt+1, 2)), BadOption},
		{"NDP, half an option", mend(with(ask6()[:opt+4], ip+4, 0, 28)), BadOption},
		{"NDP, multicast MAC", mend(with(ask6(), opt+2, 1)), BadOption},
		{"NDP, zero MAC", mend(with(ask6(), opt+2, 0, 0, 0, 0, 0, 0)), BadOption},
		{"NDP, from a multicast MAC", with(ask6(), 6, 1), BadMAC},
		{"DAD with an option", solicit(groupMAC(nodeGroup(vip6)), peerMAC, none6, nodeGroup(vip6), vip6), BadSender},
		{"DAD to a unicast address", encodeNDP(peerMAC, vipMAC, none6, vip6, &ndp.NeighborSolicitation{TargetAddress: vip6}), BadTarget},
		{"advertisement from nobody", mend(with(ndpTell(clientMAC, peerMAC, peer6, vip6, false), ip+8, make([]byte, 16)...)), BadSender},
		{"solicited advertisement to a group", ndpTell(groupMAC(allNodes()), peerMAC, peer6, allNodes(), true), BadTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t).activate()
			if outs, why := r.give(client|server, c.in); why != c.why || len(outs) != 0 {
				t.Errorf("counted as %v with %d frames sent, want %v and none", why, len(outs), c.why)
			}
		})
	}
}

// Unknown options must be ignored (RFC 4861, section 4.3), whatever is in them.
func TestUnknownOptionsAreSkipped(t *testing.T) {
	f := ndpAsk(peerMAC, peer6, vip6)
	f = append(f, 14, 1, 1, 2, 3, 4, 5, 6, 31, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0)
	f[14+5] += 24
	r := newRig(t).activate()
	if outs, why := r.give(client, mend(f)); why != Answered || len(outs) != 1 {
		t.Errorf("counted as %v", why)
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range reasons {
		if s := r.String(); s == "" || s == "unknown" || seen[s] {
			t.Errorf("reason %d is named %q", r, s)
		}
		seen[r.String()] = true
	}
}

func seed(f *testing.F) {
	for _, b := range [][]byte{
		arpAsk(peerMAC, peer4, vip4), arpAsk(otherMAC, vip4, vip4), arpTell(serverMAC, peerMAC, eps4, dir4), arpAsk(peerMAC, none4, vip4),
		ndpAsk(peerMAC, peer6, vip6), ndpAsk(peerMAC, none6, vip6), ndpTell(serverMAC, peerMAC, eps6, dir6, true),
		ndpTell(groupMAC(allNodes()), otherMAC, vip6, allNodes(), false), {}, make([]byte, 60),
	} {
		f.Add(b)
	}
}

// check hands a frame to a core that has something to do for it, and looks at
// what must hold whatever the frame is.
func check(t *testing.T, f []byte) {
	r := newRig(t).activate()
	r.setTargets(r.now, []netip.Addr{eps4, eps6})
	r.give(server, arpTell(serverMAC, peerMAC, eps4, dir4))
	var before, after uint64
	for _, n := range r.count {
		before += n
	}
	in := append([]byte(nil), f...)
	outs := append([]out(nil), r.input(r.now, client|server, f)...)
	for _, n := range r.count {
		after += n
	}
	if string(in) != string(f) {
		t.Fatal("the frame was changed")
	}
	if after == before {
		t.Fatal("not counted")
	}
	if len(outs) > 3 {
		t.Fatalf("%d frames sent for one", len(outs))
	}
	for _, o := range outs {
		if _, why, ok := decode(o.frame); !ok {
			t.Fatalf("sent a frame that is itself malformed (%v): %x", why, o.frame)
		}
	}
	r.pass(10 * time.Second)
}

func FuzzARP(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= etherLen { // keep it on the ARP path
			b = append([]byte(nil), b...)
			binary.BigEndian.PutUint16(b[12:], etherARP)
		}
		check(t, b)
	})
}

func FuzzNDP(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		check(t, b)
		if len(b) >= opt6 { // once more with all that stops a mutation early put right
			b = append([]byte(nil), b...)
			binary.BigEndian.PutUint16(b[12:], etherIPv6)
			ip := b[etherLen:]
			ip[0], ip[6], ip[7] = 6<<4, 58, 255
			binary.BigEndian.PutUint16(ip[4:], uint16(min(len(ip)-ip6Len, 65535)))
			check(t, mend(b))
		}
	})
}

const opt6 = etherLen + ip6Len + ndpLen
