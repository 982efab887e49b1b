package neigh

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

// family is what the resolution tests need of ARP and of NDP.
type family struct {
	name       string
	target     netip.Addr
	broadcast  []byte
	unicast    []byte // to peerMAC
	answer     func(mac [6]byte) []byte
	gratuitous func(mac [6]byte) []byte
}

func families() []family {
	ask6 := func(to [6]byte, dst netip.Addr) []byte { return solicit(to, serverMAC, dir6, dst, eps6) }
	uni4 := arpAsk(serverMAC, dir4, eps4)
	copy(uni4, peerMAC[:])
	return []family{
		{"ARP", eps4, arpAsk(serverMAC, dir4, eps4), uni4,
			func(mac [6]byte) []byte { return arpTell(serverMAC, mac, eps4, dir4) },
			func(mac [6]byte) []byte { return arpAsk(mac, eps4, eps4) }},
		{"NDP", eps6, ask6(groupMAC(nodeGroup(eps6)), nodeGroup(eps6)), ask6(peerMAC, eps6),
			func(mac [6]byte) []byte { return ndpTell(serverMAC, mac, eps6, dir6, true) },
			func(mac [6]byte) []byte { return ndpTell(groupMAC(allNodes()), mac, eps6, allNodes(), false) }},
	}
}

func eachFamily(t *testing.T, f func(t *testing.T, r *rig, fam family)) {
	for _, fam := range families() {
		t.Run(fam.name, func(t *testing.T) {
			r := newRig(t)
			r.setTargets(r.now, []netip.Addr{fam.target})
			f(t, r, fam)
		})
	}
}

func (r *rig) want(fam family, state State, mac [6]byte) {
	r.t.Helper()
	e := r.status().Targets[0]
	if e.State != state || e.MAC != mac {
		r.t.Fatalf("at %v the target is %v at %s, want %v at %s", r.now.Sub(start), e.State, macString(e.MAC), state, macString(mac))
	}
}

func times(sent []timed) (at []time.Duration) {
	for _, s := range sent {
		at = append(at, s.at.Round(time.Millisecond))
	}
	return at
}

func TestResolve(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *rig, fam family) {
		sent := r.pass(3 * time.Second)
		for _, s := range sent {
			if s.to != server || !bytes.Equal(s.frame, fam.broadcast) {
				t.Fatalf("asked by\n%x, want\n%x to the server side", s.frame, fam.broadcast)
			}
		}
		if at := times(sent); len(at) != 6 || at[1] != 250*time.Millisecond || at[3] != 750*time.Millisecond || at[5] != 2750*time.Millisecond {
			t.Errorf("asked at %v, want 0, 250, 500, 750, 1750, 2750 ms", at)
		}
		r.want(fam, Unknown, [6]byte{})
		r.changed = false
		if _, why := r.give(server, fam.answer(peerMAC)); why != Learned || !r.changed {
			t.Errorf("answer counted as %v, changed %v", why, r.changed)
		}
		r.want(fam, Reachable, peerMAC)
		// From now on by unicast, once a second while it answers.
		for range 5 {
			sent := r.pass(time.Second)
			if len(sent) != 1 || !bytes.Equal(sent[0].frame, fam.unicast) {
				t.Fatalf("asked by %v, want one\n%x", sent, fam.unicast)
			}
			r.changed = false
			r.give(server, fam.answer(peerMAC))
			if r.changed {
				t.Error("a mere confirmation woke the reader")
			}
		}
		if e := r.status().Targets[0]; e.Changes != 0 || !e.LastSeen.Equal(r.now) {
			t.Errorf("entry is %+v", e)
		}
	})
}

func TestSilence(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *rig, fam family) {
		r.give(server, fam.answer(peerMAC))
		sent := r.pass(1700 * time.Millisecond) // asked at 1, 1.25 and 1.5 s
		if len(sent) != 3 || !bytes.Equal(sent[2].frame, fam.unicast) {
			t.Fatalf("asked at %v, want three unicast questions", times(sent))
		}
		r.want(fam, Reachable, peerMAC)
		sent = r.pass(100 * time.Millisecond)
		if len(sent) != 1 || !bytes.Equal(sent[0].frame, fam.broadcast) {
			t.Fatalf("then sent %v, want a broadcast question", sent)
		}
		r.want(fam, Stale, peerMAC)
		r.pass(4900 * time.Millisecond)
		r.want(fam, Stale, peerMAC)
		r.changed = false
		r.pass(100 * time.Millisecond)
		r.want(fam, Failed, peerMAC)
		if !r.changed {
			t.Error("a failed server did not wake the reader")
		}
		if n := len(r.pass(10 * time.Second)); n < 9 || n > 13 {
			t.Errorf("a failed server is asked for %d times in 10 s", n)
		}
		r.give(server, fam.gratuitous(otherMAC))
		r.want(fam, Reachable, otherMAC)
	})
}

// A MAC address that changes without a word, at the worst moment.
func TestSilentChange(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *rig, fam family) {
		r.give(server, fam.answer(peerMAC))
		for _, s := range r.pass(3 * time.Second) {
			if bytes.Equal(s.frame, fam.broadcast) {
				r.now = start.Add(s.at)
				r.give(server, fam.answer(otherMAC))
				r.want(fam, Reachable, otherMAC)
				if s.at > 2*time.Second {
					t.Errorf("noticed after %v", s.at)
				}
				if e := r.status().Targets[0]; e.Changes != 1 {
					t.Errorf("%d changes, want 1", e.Changes)
				}
				return
			}
		}
		t.Fatal("never asked everyone again")
	})
}

func TestGratuitousMoves(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *rig, fam family) {
		r.give(server, fam.answer(peerMAC))
		outs, _ := r.give(server, fam.gratuitous(otherMAC))
		if len(outs) != 2 || !bytes.Equal(outs[0].frame, fam.broadcast) || !bytes.Equal(outs[1].frame, fam.unicast) || !r.early {
			t.Fatalf("a claim sent %v, want a broadcast and a unicast question; due early: %v", outs, r.early)
		}
		r.give(server, fam.gratuitous(otherMAC)) // the second one of a pair asks nothing
		r.want(fam, Reachable, peerMAC)
		r.give(server, fam.answer(otherMAC))
		r.pass(99 * time.Millisecond)
		r.want(fam, Reachable, peerMAC)
		r.pass(time.Millisecond)
		r.want(fam, Reachable, otherMAC)
		if e := r.status().Targets[0]; e.Changes != 1 || e.Refused != 0 {
			t.Errorf("entry is %+v", e)
		}
	})
}

func TestSpoofIsRefused(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *rig, fam family) {
		r.give(server, fam.answer(peerMAC))
		for name, answers := range map[string][][6]byte{
			"both answer": {otherMAC, peerMAC}, "both, the other way": {peerMAC, otherMAC}, "only the old one": {peerMAC}, "none": nil,
		} {
			before := r.status().Targets[0].Refused
			r.give(server, fam.gratuitous(otherMAC))
			for _, mac := range answers {
				r.give(server, fam.answer(mac))
			}
			r.pass(150 * time.Millisecond)
			r.want(fam, Reachable, peerMAC)
			if got := r.status().Targets[0].Refused - before; got != 1 {
				t.Errorf("%s: refused %d times, want 1", name, got)
			}
			// The same claim is not looked into again at once.
			if outs, why := r.give(server, fam.gratuitous(otherMAC)); len(outs) != 0 || why != Refused {
				t.Errorf("%s: again: %d questions, %v", name, len(outs), why)
			}
			r.give(server, fam.answer(peerMAC))
			r.pass(950 * time.Millisecond)
			r.give(server, fam.answer(peerMAC))
		}
	})
}

func TestOnlyTheServerDeviceTeaches(t *testing.T) {
	eachFamily(t, func(t *testing.T, r *rig, fam family) {
		if _, why := r.give(client, fam.gratuitous(peerMAC)); why != Irrelevant {
			t.Errorf("counted as %v", why)
		}
		r.want(fam, Unknown, [6]byte{})
		r.give(client|server, fam.gratuitous(peerMAC))
		r.want(fam, Reachable, peerMAC)
	})
}

// Without an own address of the family.
func TestSenderOfLastResort(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Server.Addrs = nil })
	r.setTargets(r.now, []netip.Addr{eps4, eps6})
	outs := r.drain()
	if len(outs) != 1 || !bytes.Equal(outs[0].frame, arpAsk(serverMAC, none4, eps4)) || r.count[NoSource] != 1 {
		t.Fatalf("sent %v, no source counted %d times; want one ARP probe and once", outs, r.count[NoSource])
	}
	r.linkLocal = netip.MustParseAddr("fe80::2")
	g := nodeGroup(eps6)
	for _, s := range r.pass(250 * time.Millisecond) {
		if s.frame[12] == 0x86 && !bytes.Equal(s.frame, solicit(groupMAC(g), serverMAC, r.linkLocal, g, eps6)) {
			t.Errorf("asked by %x", s.frame)
		}
	}
	if r.count[NoSource] != 1 {
		t.Error("the link-local address was not used")
	}
}

func TestTargetsStay(t *testing.T) {
	r := newRig(t)
	r.setTargets(r.now, []netip.Addr{eps4})
	r.give(server, arpTell(serverMAC, peerMAC, eps4, dir4))
	r.setTargets(r.now, []netip.Addr{netip.MustParseAddr("::ffff:198.51.100.11"), eps6})
	if s := r.status().Targets; len(s) != 2 || s[0].MAC != peerMAC || s[1].State != Unknown {
		t.Errorf("targets are %+v", s)
	}
	r.setTargets(r.now, nil)
	if n := len(r.pass(time.Minute)); n != 0 {
		t.Errorf("%d frames sent without a target", n)
	}
}
