package flow

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// IPVS's input-only table (net/netfilter/ipvs/ip_vs_proto_tcp.c), which a director
// with direct routing uses, without the states that one direction never reaches.
// Columns: NONE, ESTABLISHED, SYN_RECV, FIN_WAIT, TIME_WAIT, CLOSE.
func TestNextTCPFollowsIPVS(t *testing.T) {
	const (
		sNO, sES, sSR, sFW, sTW, sCL = Free, Established, SynRecv, FinWait, TimeWait, Close
	)
	columns := [6]State{sNO, sES, sSR, sFW, sTW, sCL}
	rows := []struct {
		name  string
		flags []uint8
		next  [6]State
	}{
		{"syn", []uint8{frame.SYN, frame.SYN | frame.ACK, frame.SYN | frame.FIN, frame.SYN | 0xc0, frame.SYN | frame.FIN | frame.ACK},
			[6]State{sSR, sES, sSR, sSR, sSR, sSR}},
		{"fin", []uint8{frame.FIN, frame.FIN | frame.ACK, frame.FIN | 0x08, frame.FIN | frame.ACK | 0x28},
			[6]State{sCL, sFW, sTW, sFW, sTW, sCL}},
		{"ack", []uint8{frame.ACK, frame.ACK | 0x08, frame.ACK | 0x20, frame.ACK | 0xc0},
			[6]State{sES, sES, sES, sFW, sTW, sCL}},
		{"rst", []uint8{frame.RST, frame.RST | frame.ACK, frame.RST | frame.SYN, frame.RST | frame.FIN, 0x1f, 0xff},
			[6]State{sCL, sCL, sSR, sCL, sCL, sCL}},
	}
	for _, r := range rows {
		for _, flags := range r.flags {
			for i, s := range columns {
				want := r.next[i]
				if r.name == "ack" && s == sNO {
					// On purpose: IPVS takes a first segment that is no SYN for an
					// established connection. One forged segment would then hold an
					// entry for 15 minutes, so it begins half-open here.
					want = sSR
				}
				if got := NextTCP(s, flags); got != want {
					t.Errorf("%s (%#x) in %v: %v, want %v", r.name, flags, s, got, want)
				}
			}
		}
	}
	// On purpose: IPVS closes a connection on a segment with none of the four flags
	// (tcp_state_idx is -1). Such a segment is invalid (RFC 9293 section 3.10.7.4,
	// dropped by the server), so it moves nothing here.
	for _, flags := range []uint8{0, 0x08, 0x20, 0xc0} {
		for _, s := range columns {
			want := s
			if s == sNO {
				want = sSR
			}
			if got := NextTCP(s, flags); got != want {
				t.Errorf("no flags (%#x) in %v: %v, want %v", flags, s, got, want)
			}
		}
	}
}

func TestNextUDP(t *testing.T) {
	if NextUDP(Free) != UDPNew || NextUDP(UDPNew) != UDP || NextUDP(UDP) != UDP {
		t.Error("UDP states")
	}
}

func TestStateClasses(t *testing.T) {
	for _, c := range []struct {
		s                                   State
		name                                string
		active, counted, confirmed, closing bool
	}{
		{Established, "ESTABLISHED", true, true, true, false},
		{SynRecv, "SYN_RECV", false, true, false, false},
		{FinWait, "FIN_WAIT", false, true, true, true},
		{TimeWait, "TIME_WAIT", false, true, true, true},
		{Close, "CLOSE", false, true, true, true},
		{UDPNew, "UDP", true, true, false, false},
		{UDP, "UDP", true, true, true, false},
		{TemplateNew, "NONE", false, false, false, false},
		{Template, "NONE", false, false, true, false},
		{Fragment, "FRAGMENT", false, false, false, false},
	} {
		if c.s.String() != c.name || c.s.Active() != c.active || c.s.Counted() != c.counted ||
			c.s.Confirmed() != c.confirmed || c.s.Closing() != c.closing {
			t.Errorf("%v: active %v counted %v confirmed %v closing %v", c.s, c.s.Active(), c.s.Counted(), c.s.Confirmed(), c.s.Closing())
		}
	}
	if NumStates.String() != "?" || State(255).String() != "?" {
		t.Error("a state that there isn't has a name")
	}
}

func TestMeta(t *testing.T) {
	m := MakeMeta(SynRecv, 0xfedcba98)
	if m.State() != SynRecv || m.Backend() != 0xfedcba98 || m.version() != 0 {
		t.Errorf("%#x", uint64(m))
	}
	m |= 0xffff << 48
	w := m.With(Fragment)
	if w.State() != Fragment || w.Backend() != 0xfedcba98 || w.version() != 0xffff {
		t.Errorf("%#x", uint64(w))
	}
	if n := m.next(); n.State() != Free || n.Backend() != 0 || n.version() != 0 {
		t.Errorf("the version after the last is %#x", uint64(n))
	}
}

func TestTickWrapsRound(t *testing.T) {
	for _, c := range []struct {
		a, b Tick
		ms   int32
	}{
		{0, 0, 0}, {0, 1, 1}, {1<<32 - 1, 0, 1}, {1<<32 - 500, 500, 1000}, {500, 1<<32 - 500, -1000},
		{1 << 31, 1<<31 + 7, 7}, {1<<31 - 7, 1<<31 + 7, 14},
	} {
		if c.a.Until(c.b) != c.ms || c.a.Before(c.b) != (c.ms > 0) {
			t.Errorf("from %d to %d: %d ms, before %v", c.a, c.b, c.a.Until(c.b), c.a.Before(c.b))
		}
	}
}
