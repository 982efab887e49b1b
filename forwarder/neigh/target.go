package neigh

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"
)

// State is what is known of a real server's MAC address.
type State uint8

const (
	Unknown   State = iota // never answered
	Reachable              // answered lately
	Stale                  // three questions unanswered; its MAC address is still used for Config.Hold
	Failed                 // silent for longer: not used
)

// String returns the state's name.
func (s State) String() string {
	return [...]string{"unknown", "reachable", "stale", "failed"}[s&3]
}

// target is one real server.
type target struct {
	addr    netip.Addr
	state   State
	mac     [6]byte // valid when known
	seen    time.Time
	changes uint64 // other MAC addresses taken
	refused uint64 // other MAC addresses refused
	asked   int    // questions since the last answer or change of state
	next    time.Time
	stale   time.Time // since when
	claim   claim
	denied  [6]byte // this MAC address was refused
	denial  time.Time
}

// claim is another MAC address that is being looked into.
type claim struct {
	open     bool
	mac      [6]byte
	until    time.Time
	answered bool
}

const (
	patience    = 3                      // unanswered questions that make an entry stale
	claimWindow = 100 * time.Millisecond // for both MAC addresses to answer
	denialTime  = time.Second
)

func (t *target) known() bool { return t.state == Reachable || t.state == Stale }

func (c *core) setTargets(now time.Time, addrs []netip.Addr) {
	targets := make(map[netip.Addr]*target, len(addrs))
	for _, a := range addrs {
		a = plain(a)
		t := c.targets[a]
		if t == nil {
			t = &target{addr: a, next: now}
		}
		targets[a] = t
	}
	c.targets, c.early = targets, true
}

// ask sends the question that is due and plans the next one.
func (c *core) ask(now time.Time, t *target) {
	if t.state == Reachable && t.asked >= patience {
		t.state, t.stale, t.asked = Stale, now, 0
		c.moved(now, t, slog.LevelWarn, "real server does not answer ARP/NDP any more")
	}
	if t.state == Stale && now.Sub(t.stale) >= c.cfg.Hold {
		t.state, t.asked = Failed, 0
		c.moved(now, t, slog.LevelError, "real server's MAC address is lost: it gets no packets until it answers")
	}
	c.question(t, t.state != Reachable)
	if t.asked++; t.asked <= patience {
		t.next = now.Add(c.jitter(c.cfg.Probe / 4))
	} else {
		t.next = now.Add(c.jitter(c.cfg.Probe))
	}
	if end := t.stale.Add(c.cfg.Hold); t.state == Stale && end.Before(t.next) {
		t.next = end
	}
}

// question asks for a target, everyone or only its last MAC address.
func (c *core) question(t *target, everyone bool) {
	from := &c.cfg.Server
	src := netip.Addr{}
	for _, a := range from.Addrs {
		if a = plain(a); a.Is4() == t.addr.Is4() {
			src = a
			break
		}
	}
	to := t.mac
	if t.addr.Is4() {
		if !src.IsValid() {
			src = netip.IPv4Unspecified()
		}
		if everyone {
			to = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}
		c.send(server, encodeARP(arp.OperationRequest, from.MAC, to, from.MAC, src, [6]byte{}, t.addr), Asked)
		return
	}
	if !src.IsValid() {
		src = c.linkLocal
	}
	if !src.IsValid() {
		c.count[NoSource]++
		return
	}
	dst := t.addr
	if everyone {
		dst = nodeGroup(t.addr)
		to = groupMAC(dst)
	}
	c.send(server, solicit(to, from.MAC, src, dst, t.addr), Asked)
}

// observe takes a message that tells about a target.
func (c *core) observe(now time.Time, t *target, m *message) Reason {
	mac := m.mac
	if mac == [6]byte{} {
		// NDP without a link-layer address confirms what is known, no more (RFC 4861, 7.2.5).
		if !t.known() || m.etherSrc != t.mac {
			return Irrelevant
		}
		mac = m.etherSrc
	}
	switch {
	case !t.known(), t.state == Stale, mac == t.mac:
		c.accept(now, t, mac)
	case t.claim.open && mac == t.claim.mac:
		t.claim.answered = t.claim.answered || m.toUs
	case t.claim.open, mac == t.denied && now.Sub(t.denial) < denialTime:
		c.count[Refused]++
		return Refused
	default:
		t.claim = claim{open: true, mac: mac, until: now.Add(claimWindow)}
		c.early = true
		c.question(t, true)
		c.question(t, false)
	}
	return Learned
}

// accept takes a MAC address, the old or a new one, as the target's.
func (c *core) accept(now time.Time, t *target, mac [6]byte) {
	if t.claim.open && mac == t.mac {
		c.refuse(now, t) // the old one lives
	}
	moved, was := mac != t.mac, t.state
	if moved && t.mac != ([6]byte{}) {
		t.changes++
	}
	t.mac, t.seen, t.state, t.asked, t.claim = mac, now, Reachable, 0, claim{}
	t.next = now.Add(c.jitter(c.cfg.Probe))
	if moved || was != Reachable {
		c.moved(now, t, slog.LevelInfo, "real server's MAC address found")
	}
}

// judge ends a claim whose time is over: the old MAC address did not answer.
func (c *core) judge(now time.Time, t *target) {
	if t.claim.answered {
		c.accept(now, t, t.claim.mac)
		return
	}
	c.refuse(now, t)
}

func (c *core) refuse(now time.Time, t *target) {
	t.denied, t.denial, t.claim = t.claim.mac, now, claim{}
	t.refused++
	c.count[Refused]++
	c.log(now, slog.LevelWarn, "another MAC address for a real server refused: its known one still answers, or the new one did not",
		"server", t.addr, "mac", macString(t.mac), "refused", macString(t.denied), "device", c.cfg.Server.Device)
}

func (c *core) moved(now time.Time, t *target, level slog.Level, msg string) {
	c.changed = true
	c.log(now, level, msg, "server", t.addr, "mac", macString(t.mac), "state", t.state.String(), "device", c.cfg.Server.Device)
}

// plain is how addresses are compared.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// jitter spreads a duration by 10 % to both sides.
func (c *core) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*c.rand()))
}
