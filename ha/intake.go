package ha

import (
	"net/netip"
	"slices"
	"time"
)

// HelloInterval is how often a backup with a key sends its sign of life.
func HelloInterval(interval time.Duration) time.Duration {
	return min(max(5*interval, 100*time.Millisecond), time.Second)
}

// packet judges one received packet, counts it, and hands what is good to the
// machine.
func (r *Runner) packet(p packet) {
	path := &r.paths[p.path]
	a, node, why := r.judge(path, p)
	r.counters.Add(why)
	if why == OK || why == Hello {
		r.seen(path, p.src, node, a)
	}
	switch why {
	case OK:
		r.step(Received{Advert: a, Path: p.path, Sender: p.src, Local: path.local, Node: node})
	case Unproven:
		r.answer()
	}
}

func (r *Runner) judge(path *path, p packet) (a Advert, node netip.Addr, why Reason) {
	switch {
	case p.src == path.local:
		return a, node, OwnPacket
	case len(path.peers) == 0 && p.dst != path.group(), len(path.peers) > 0 && p.dst != path.local:
		return a, node, WrongDest
	case len(path.peers) > 0 && !slices.Contains(path.peers, p.src):
		return a, node, WrongPeer
	case p.ttl != 255 && !r.cfg.AnyTTL:
		return a, node, BadTTL
	case len(p.data) >= headerLen && p.data[0]>>4 == version && p.data[1] != r.cfg.VRID:
		return a, node, WrongVRID
	}
	if r.seal != nil {
		return r.seal.Open(p.data, p.src, p.dst)
	}
	a, why = parsePlain(p.data, p.src, p.dst)
	return a, node, why
}

// answer shows a sender that has yet to prove itself our challenge, and its own.
// Replayed packets cause answers too, so they are spaced.
func (r *Runner) answer() {
	now := r.cfg.clock()
	if now < r.answerAt {
		return
	}
	r.answerAt = now + Centisecond
	if r.m.state == Active && !r.m.Leaving() {
		r.advertise(r.m.Priority(), false)
	} else if r.m.state != Initialize {
		r.hello()
	}
}
