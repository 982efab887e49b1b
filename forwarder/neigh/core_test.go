package neigh

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
)

var (
	clientMAC = [6]byte{2, 0, 0, 0, 0, 1}
	serverMAC = [6]byte{2, 0, 0, 0, 0, 2}
	vipMAC    = [6]byte{0, 0, 0x5e, 0, 1, 51}
	peerMAC   = [6]byte{2, 0, 0, 0, 1, 1}
	otherMAC  = [6]byte{2, 0, 0, 0, 1, 2}
	allMAC    = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

	vip4, vip6   = netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")
	peer4, peer6 = netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	eps4, eps6   = netip.MustParseAddr("198.51.100.11"), netip.MustParseAddr("2001:db8:1::11")
	dir4, dir6   = netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:1::2")
	none4, none6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()
	start        = time.Unix(1e9, 0)
)

// rig is a core with a clock of its own. Its jitter is none.
type rig struct {
	*core
	t   testing.TB
	now time.Time
	log bytes.Buffer
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	r := &rig{core: &core{}, t: t, now: start}
	cfg := Config{
		Client: Interface{Device: "eth0", Index: 1, MAC: clientMAC},
		Server: Interface{Device: "eth1", Index: 2, MAC: serverMAC, Addrs: []netip.Addr{dir4, dir6}},
		Log:    slog.New(slog.NewTextHandler(&r.log, nil)),
		Probe:  time.Second, Hold: 5 * time.Second, Announce: time.Minute,
	}
	for _, f := range change {
		f(&cfg)
	}
	r.init(&cfg, func() float64 { return 0.5 })
	return r
}

func (r *rig) activate() *rig {
	r.setVIPs(r.now, []netip.Addr{vip4, vip6}, vipMAC, true)
	r.drain()
	return r
}

// drain runs what is due now.
func (r *rig) drain() []out {
	outs, _ := r.tick(r.now)
	return append([]out(nil), outs...)
}

// pass lets time go by and returns what was sent and when.
func (r *rig) pass(d time.Duration) (sent []timed) {
	for end := r.now.Add(d); ; {
		outs, next := r.tick(r.now)
		for _, o := range outs {
			sent = append(sent, timed{r.now.Sub(start), o})
		}
		if next.After(end) {
			r.now = end
			return sent
		}
		if !next.After(r.now) {
			r.t.Fatalf("tick says to come back at %v, which is not after now (%v)", next, r.now)
		}
		r.now = next
	}
}

type timed struct {
	at time.Duration
	out
}

// give hands a frame in and returns the answers and the reason counted.
func (r *rig) give(at side, f []byte) ([]out, Reason) {
	before := r.count
	outs := append([]out(nil), r.input(r.now, at, f)...)
	for i := range r.count {
		if r.count[i] != before[i] && Reason(i) != Asked && Reason(i) != Announced {
			return outs, Reason(i)
		}
	}
	return outs, reasons
}

func arpAsk(mac [6]byte, ip, target netip.Addr) []byte {
	return encodeARP(arp.OperationRequest, mac, allMAC, mac, ip, [6]byte{}, target)
}

func arpTell(to, mac [6]byte, ip, target netip.Addr) []byte {
	return encodeARP(arp.OperationReply, mac, to, mac, ip, to, target)
}

func ndpAsk(mac [6]byte, src, target netip.Addr) []byte {
	g := nodeGroup(target)
	if src.IsUnspecified() {
		return encodeNDP(mac, groupMAC(g), src, g, &ndp.NeighborSolicitation{TargetAddress: target})
	}
	return solicit(groupMAC(g), mac, src, g, target)
}

func ndpTell(to, mac [6]byte, src, dst netip.Addr, solicited bool) []byte {
	return advertise(to, mac, src, dst, solicited)
}

func TestAnswers(t *testing.T) {
	arpReply := encodeARP(arp.OperationReply, vipMAC, peerMAC, vipMAC, vip4, peerMAC, peer4)
	na := advertise(peerMAC, vipMAC, vip6, peer6, true)
	nsUnicast := encodeNDP(peerMAC, vipMAC, peer6, vip6, &ndp.NeighborSolicitation{TargetAddress: vip6})
	for _, c := range []struct {
		name string
		at   side
		in   []byte
		why  Reason
		want []byte
	}{
		{"ARP request", client, arpAsk(peerMAC, peer4, vip4), Answered, arpReply},
		{"ARP request, padded", client, append(arpAsk(peerMAC, peer4, vip4), make([]byte, 18)...), Answered, arpReply},
		{"ARP request, unicast to the virtual MAC", client, encodeARP(arp.OperationRequest, peerMAC, vipMAC, peerMAC, peer4, [6]byte{}, vip4), Answered, arpReply},
		{"ARP request, unicast to the device", client, encodeARP(arp.OperationRequest, peerMAC, clientMAC, peerMAC, peer4, [6]byte{}, vip4), Answered, arpReply},
		{"ARP probe", client, arpAsk(peerMAC, none4, vip4), Answered, encodeARP(arp.OperationReply, vipMAC, peerMAC, vipMAC, vip4, peerMAC, none4)},
		{"ARP request on a device that is both", client | server, arpAsk(peerMAC, peer4, vip4), Answered, arpReply},
		{"ARP request on the server device", server, arpAsk(peerMAC, peer4, vip4), OtherSide, nil},
		{"ARP request for another address", client, arpAsk(peerMAC, peer4, peer4.Next()), Irrelevant, nil},
		{"ARP request from ourselves", client, arpAsk(clientMAC, dir4, vip4), Own, nil},
		{"ARP request from the virtual MAC", client, arpAsk(vipMAC, dir4, vip4), Own, nil},
		{"ARP request to another host's MAC", client, encodeARP(arp.OperationRequest, peerMAC, otherMAC, peerMAC, peer4, [6]byte{}, vip4), OtherHost, nil},
		{"ARP reply to us", client, arpTell(clientMAC, peerMAC, peer4, vip4), Irrelevant, nil},
		{"NS", client, ndpAsk(peerMAC, peer6, vip6), Answered, na},
		{"NS, unicast without option", client, nsUnicast, Answered, na},
		{"NS for DAD", client, ndpAsk(peerMAC, none6, vip6), Answered, advertise([6]byte{0x33, 0x33, 0, 0, 0, 1}, vipMAC, vip6, netip.MustParseAddr("ff02::1"), false)},
		{"NS on the server device", server, ndpAsk(peerMAC, peer6, vip6), OtherSide, nil},
		{"NS for another address", client, ndpAsk(peerMAC, peer6, vip6.Next()), Irrelevant, nil},
		{"NS from ourselves", client, ndpAsk(clientMAC, dir6, vip6), Own, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t).activate()
			outs, why := r.give(c.at, c.in)
			if why != c.why {
				t.Errorf("counted as %v, want %v", why, c.why)
			}
			if c.want == nil {
				if len(outs) != 0 {
					t.Fatalf("%d frames sent, want none: %x", len(outs), outs[0].frame)
				}
				return
			}
			if len(outs) != 1 || outs[0].to != client || !bytes.Equal(outs[0].frame, c.want) {
				t.Fatalf("sent %v\nwant %x to the client side", outs, c.want)
			}
		})
	}
}

// The advertisement's bytes are written out once, as a twin of the codec.
func TestAdvertisementBytes(t *testing.T) {
	f := advertise(peerMAC, vipMAC, vip6, peer6, true)
	if got := f[14+40+4]; got != 0x60 {
		t.Errorf("flags %#x, want solicited and override without router (0x60)", got)
	}
	if m, why, ok := decode(f); !ok || m.mac != vipMAC || m.target != vip6 || !m.toUs || m.kind != tell {
		t.Errorf("decoded as %+v, %v, %v", m, why, ok)
	}
	want := []byte{2, 1, 0, 0, 0x5e, 0, 1, 51}
	if !bytes.Equal(f[len(f)-8:], want) {
		t.Errorf("last option %x, want the target's link-layer address %x", f[len(f)-8:], want)
	}
}

func TestInactiveIsSilent(t *testing.T) {
	r := newRig(t)
	r.setVIPs(r.now, []netip.Addr{vip4, vip6}, vipMAC, false)
	if sent := r.pass(10 * time.Minute); len(sent) != 0 {
		t.Errorf("%d frames sent while inactive", len(sent))
	}
	for _, f := range [][]byte{arpAsk(peerMAC, peer4, vip4), ndpAsk(peerMAC, peer6, vip6)} {
		if outs, why := r.give(client, f); len(outs) != 0 || why != Inactive {
			t.Errorf("%d frames sent, counted as %v; want none, inactive", len(outs), why)
		}
	}
}

func TestAnnouncements(t *testing.T) {
	r := newRig(t)
	r.setVIPs(r.now, []netip.Addr{vip4}, vipMAC, true)
	var at []time.Duration
	for i, s := range r.pass(130 * time.Second) {
		op := [2]byte{0, byte(1 + i%2)} // a request, then a reply
		if s.to != client || [6]byte(s.frame[:6]) != allMAC || [2]byte(s.frame[20:22]) != op || [4]byte(s.frame[28:32]) != vip4.As4() || [4]byte(s.frame[38:42]) != vip4.As4() {
			t.Fatalf("announcement %d is %x", i, s.frame)
		}
		if i%2 == 0 {
			at = append(at, s.at)
		}
	}
	want := []time.Duration{0, 100 * time.Millisecond, time.Second, 61 * time.Second, 121 * time.Second}
	if len(at) != len(want) {
		t.Fatalf("announced at %v, want %v", at, want)
	}
	for i := range want {
		if at[i] != want[i] {
			t.Errorf("announced at %v, want %v", at, want)
		}
	}
	// The same call again is no news; another MAC address is.
	r.setVIPs(r.now, []netip.Addr{vip4}, vipMAC, true)
	if n := len(r.drain()); n != 0 {
		t.Errorf("%d frames sent although nothing changed", n)
	}
	r.setVIPs(r.now, []netip.Addr{vip4}, clientMAC, true)
	if n := len(r.drain()); n != 2 {
		t.Errorf("%d frames sent for a new MAC address, want 2", n)
	}
	r.setVIPs(r.now, []netip.Addr{vip4, vip6}, clientMAC, true)
	outs := r.drain()
	if len(outs) != 1 || !bytes.Equal(outs[0].frame, advertise([6]byte{0x33, 0x33, 0, 0, 0, 1}, clientMAC, vip6, allNodes(), false)) {
		t.Errorf("a new VIP sent %v, want one advertisement", outs)
	}
	// A device that was down: the series starts again a second later.
	r.reannounce(r.now)
	if n := len(r.pass(1900 * time.Millisecond)); n != 6 {
		t.Errorf("%d frames in 1.9 s after a failed one, want 6 (two rounds of three)", n)
	}
}

func TestConflict(t *testing.T) {
	for _, c := range []struct {
		name   string
		at     side
		active bool
		in     []byte
		why    Reason
		defend bool
	}{
		{"gratuitous request", client, true, arpAsk(otherMAC, vip4, vip4), Conflict, true},
		{"request from the VIP", client, true, arpAsk(otherMAC, vip4, peer4), Conflict, true},
		{"reply", client, true, arpTell(clientMAC, otherMAC, vip4, peer4), Conflict, true},
		{"advertisement", client, true, ndpTell(groupMAC(allNodes()), otherMAC, vip6, allNodes(), false), Conflict, true},
		{"solicitation from the VIP", client, true, ndpAsk(otherMAC, vip6, peer6), Conflict, true},
		{"the active peer announces", client, false, arpAsk(otherMAC, vip4, vip4), Irrelevant, false},
		{"a real server leaks, active", server, true, arpAsk(otherMAC, vip4, peer4), Conflict, false},
		{"a real server leaks, backup", server, false, arpAsk(otherMAC, vip4, peer4), Conflict, false},
		{"our own announcement comes back", client, true, arpAsk(vipMAC, vip4, vip4), Own, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.setVIPs(r.now, []netip.Addr{vip4, vip6}, vipMAC, c.active)
			r.pass(10 * time.Second) // until the first announcements are over
			outs, why := r.give(c.at, c.in)
			if why != c.why || len(outs) != 0 {
				t.Fatalf("counted as %v with %d frames sent, want %v and none at once", why, len(outs), c.why)
			}
			sent := r.pass(defendAfter)
			if (len(sent) > 0) != c.defend {
				t.Errorf("%d frames sent after a while, want defended %v", len(sent), c.defend)
			}
			if c.why != Conflict {
				return
			}
			r.give(c.at, c.in)
			if sent := r.pass(5 * time.Second); len(sent) != 0 {
				t.Error("defended again within 10 s")
			}
			var found bool
			for _, v := range r.status().VIPs {
				if v.Conflicts > 0 {
					found = v.Conflicts == 2 && v.Rival == otherMAC && v.Device == r.device(c.at) && r.now.Sub(v.Last) == 5*time.Second
				}
			}
			if !found {
				t.Errorf("status is %+v", r.status().VIPs)
			}
			if !r.changed || bytes.Count(r.log.Bytes(), []byte("claims a VIP")) != 1 {
				t.Errorf("changed %v, log:\n%s", r.changed, r.log.String())
			}
		})
	}
}

// A director that is told in time that it lost the VIPs does not call clients back.
func TestNoDefenceAfterTakeover(t *testing.T) {
	r := newRig(t).activate()
	r.pass(10 * time.Second)
	r.give(client, arpAsk(otherMAC, vip4, vip4))
	r.pass(defendAfter / 2)
	r.setVIPs(r.now, []netip.Addr{vip4, vip6}, vipMAC, false)
	if sent := r.pass(5 * time.Minute); len(sent) != 0 {
		t.Errorf("%d frames sent after the takeover", len(sent))
	}
}

func TestFloodIsBounded(t *testing.T) {
	r := newRig(t).activate()
	answered := 0
	for i := range 100_000 { // one second of 100 000 questions from one host
		r.now = start.Add(time.Duration(i) * 10 * time.Microsecond)
		outs, _ := r.give(client, arpAsk(otherMAC, peer4, vip4))
		answered += len(outs)
	}
	if answered < 512 || answered > 512+101 {
		t.Errorf("%d answers to one host in a second, want a burst of 512 and 100", answered)
	}
	if outs, why := r.give(client, arpAsk(peerMAC, peer4, vip4)); len(outs) != 1 {
		t.Errorf("another host got no answer: %v", why)
	}
	if got := r.count[Limited]; got != uint64(100_000-answered) {
		t.Errorf("%d counted as limited, want %d", got, 100_000-answered)
	}
	answered = 0
	for i := range 100_000 { // and from as many hosts
		r.now = r.now.Add(10 * time.Microsecond)
		mac := [6]byte{2, 9, byte(i >> 16), byte(i >> 8), byte(i), 7}
		outs, _ := r.give(client, arpAsk(mac, peer4, vip4))
		answered += len(outs)
	}
	if answered > 2001 {
		t.Errorf("%d answers in a second, want at most a burst of 1000 and 1000", answered)
	}
}

// BenchmarkInput is what a flood costs for each question: answered and limited.
func BenchmarkInput(b *testing.B) {
	for name, f := range map[string][]byte{"ARP": arpAsk(peerMAC, peer4, vip4), "NDP": ndpAsk(peerMAC, peer6, vip6)} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b).activate()
			b.ReportAllocs()
			for b.Loop() {
				r.input(r.now, client, f)
			}
		})
	}
}
