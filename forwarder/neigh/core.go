package neigh

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// side is what a device is used for; a device may be both.
type side uint8

const (
	client side = 1 << iota
	server
)

// out is a frame to send on the device of that (one) side.
type out struct {
	to    side
	frame []byte
	why   Reason
}

// core is everything but sockets and clocks: frames and the time go in, frames
// come out. Not safe for concurrent use.
type core struct {
	cfg       *Config
	rand      func() float64 // 0 <= x < 1
	linkLocal netip.Addr     // of the server device, sender of last resort

	vips    map[netip.Addr]*vip
	mac     [6]byte // answers for the VIPs
	active  bool
	targets map[netip.Addr]*target

	limit   limiter
	logs    bucket
	count   Counters
	changed bool // tell the reader of Changes
	regroup bool // tell the sockets which groups to be in
	early   bool // something became due earlier than the last tick said
	outs    []out
}

func (c *core) init(cfg *Config, rand func() float64) {
	c.cfg, c.rand, c.regroup = cfg, rand, true
	c.vips, c.targets = map[netip.Addr]*vip{}, map[netip.Addr]*target{}
}

// input takes one frame received on a device. The result is valid until the next call.
func (c *core) input(now time.Time, at side, frame []byte) []out {
	c.outs = c.outs[:0]
	m, why, ok := decode(frame)
	if ok {
		why = c.handle(now, at, &m)
	}
	if why != counted {
		c.count[why]++
	}
	return c.outs
}

func (c *core) handle(now time.Time, at side, m *message) Reason {
	if m.etherDst[0]&1 == 0 && !c.own(m.etherDst) {
		return OtherHost // seen because the device is promiscuous
	}
	if c.own(m.mac) || c.own(m.etherSrc) {
		return Own
	}
	// Who claims to be what? An ARP request and a solicitation tell about their
	// sender, the others about their target.
	who := m.sender
	if m.kind == tell {
		who = m.target
	}
	if v := c.vips[who]; v != nil {
		return c.conflict(now, at, v, m)
	}
	why := Irrelevant
	if t := c.targets[who]; t != nil && at&server != 0 {
		why = c.observe(now, t, m)
	}
	if v := c.vips[m.target]; v != nil && m.kind == ask {
		why = c.answer(now, at, v, m)
	}
	return why
}

// tick does what is due and tells when to come back. The frames are valid until the next call.
func (c *core) tick(now time.Time) (outs []out, next time.Time) {
	c.outs, c.early = c.outs[:0], false
	next = now.Add(time.Minute)
	due := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if c.active {
		for _, v := range c.vips {
			if !now.Before(v.next) {
				c.announce(v)
				v.next = now.Add(c.announceAfter(v))
				v.step++
			}
			due(v.next)
		}
	}
	for _, t := range c.targets {
		if t.claim.open && !now.Before(t.claim.until) {
			c.judge(now, t)
		}
		if t.claim.open {
			due(t.claim.until)
		}
		if !now.Before(t.next) {
			c.ask(now, t)
		}
		due(t.next)
	}
	return c.outs, next
}

// counted is what became of a frame whose answer was counted by send.
const counted = reasons

func (c *core) send(to side, frame []byte, why Reason) {
	if frame != nil {
		c.count[why]++
		c.outs = append(c.outs, out{to, frame, why})
	}
}

// own tells whether a MAC address is this director's.
func (c *core) own(mac [6]byte) bool {
	return mac == c.cfg.Client.MAC || mac == c.cfg.Server.MAC || (mac == c.mac && mac != [6]byte{})
}

// log writes at most five lines a second, so that a flood does not fill a disk.
func (c *core) log(now time.Time, level slog.Level, msg string, args ...any) {
	if c.logs.take(now, 5, 20) {
		c.cfg.Log.Log(context.Background(), level, msg, args...)
	}
}

func (c *core) device(at side) string {
	if at&client != 0 {
		return c.cfg.Client.Device
	}
	return c.cfg.Server.Device
}
