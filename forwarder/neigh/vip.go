package neigh

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"
)

// vip is one virtual address.
type vip struct {
	addr      netip.Addr
	next      time.Time // of the next announcement, when active
	step      int       // announcements since it became active
	conflicts uint64
	rival     [6]byte
	rivalAt   side
	seen      time.Time // of the last conflict
	logged    time.Time
	defended  time.Time
}

const (
	defendEvery = 10 * time.Second // RFC 5227, DEFEND_INTERVAL
	// A director that takes over may be heard before this one knows that it is not the
	// active one any more: then it must not call the clients back.
	defendAfter = 200 * time.Millisecond
	remindEvery = time.Minute // of one conflict in the log
)

func (c *core) setVIPs(now time.Time, addrs []netip.Addr, mac [6]byte, active bool) {
	active = active && unicastMAC(mac)
	again := active && (!c.active || mac != c.mac)
	c.mac, c.active = mac, active
	vips := make(map[netip.Addr]*vip, len(addrs))
	for _, a := range addrs {
		a = plain(a)
		v := c.vips[a]
		if v == nil {
			v = &vip{addr: a, next: now}
		}
		if again {
			v.step, v.next = 0, now
		}
		vips[a] = v
	}
	c.vips, c.early, c.regroup = vips, true, true
}

// announceAfter is how long to wait after announcement number v.step.
func (c *core) announceAfter(v *vip) time.Duration {
	switch v.step {
	case 0:
		return 100 * time.Millisecond
	case 1:
		return 900 * time.Millisecond
	}
	return c.jitter(c.cfg.Announce)
}

// announceAgain starts the series again at once.
func (c *core) announceAgain(now time.Time) {
	for _, v := range c.vips {
		v.step, v.next = 0, now
	}
	c.early = true
}

// reannounce starts the series again after one frame could not be sent.
func (c *core) reannounce(now time.Time) {
	for _, v := range c.vips {
		v.step, v.next = 0, now.Add(time.Second)
	}
	c.early = true
}

// announce tells everyone on the client network (RFC 5227, section 3; RFC 4861,
// section 7.2.6). Some hosts heed only the request, some only the reply.
func (c *core) announce(v *vip) {
	all := [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if v.addr.Is4() {
		c.send(client, encodeARP(arp.OperationRequest, c.mac, all, c.mac, v.addr, [6]byte{}, v.addr), Announced)
		c.send(client, encodeARP(arp.OperationReply, c.mac, all, c.mac, v.addr, all, v.addr), Announced)
		return
	}
	c.send(client, advertise(groupMAC(allNodes()), c.mac, v.addr, allNodes(), false), Announced)
}

// answer replies to a question for a VIP.
func (c *core) answer(now time.Time, at side, v *vip, m *message) Reason {
	to := m.mac
	if to == [6]byte{} {
		to = m.etherSrc // a unicast solicitation may leave its option out
	}
	switch {
	case at&client == 0:
		return OtherSide
	case !c.active:
		return Inactive
	case !c.limit.allow(now, m.etherSrc):
		return Limited
	case v.addr.Is4():
		c.send(client, encodeARP(arp.OperationReply, c.mac, to, c.mac, v.addr, to, m.sender), Answered)
	case m.sender.IsUnspecified(): // duplicate address detection: everyone may know
		c.send(client, advertise(groupMAC(allNodes()), c.mac, v.addr, allNodes(), false), Answered)
	default:
		c.send(client, advertise(to, c.mac, v.addr, m.sender, true), Answered)
	}
	return counted
}

// conflict notes that another host claims a VIP. On the client network the active
// director of the pair does so rightly while this one is not active.
func (c *core) conflict(now time.Time, at side, v *vip, m *message) Reason {
	if at&client != 0 && !c.active {
		return Irrelevant
	}
	rival := m.mac
	if rival == [6]byte{} {
		rival = m.etherSrc
	}
	if rival != v.rival || at != v.rivalAt || now.Sub(v.logged) >= remindEvery {
		v.logged = now
		c.changed = true
		c.log(now, slog.LevelWarn, "another host claims a VIP: if it is a real server, run svm-rs apply there",
			"vip", v.addr, "mac", macString(rival), "device", c.device(at), "times", v.conflicts+1)
	}
	v.conflicts++
	v.rival, v.rivalAt, v.seen = rival, at, now
	if c.active && at&client != 0 && now.Sub(v.defended) >= defendEvery {
		v.defended = now
		if due := now.Add(defendAfter); due.Before(v.next) {
			v.next, c.early = due, true
		}
	}
	return Conflict
}
