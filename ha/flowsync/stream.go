package flowsync

import (
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

const (
	burst      = 10         // ms of Rate that may be sent at once
	takeMost   = 1024       // changes taken from a feed at a time
	fetchMost  = 32         // slots whose memory is fetched at once
	bulkFlying = window / 8 // fewer than fill a socket buffer of 208 KiB, what Linux gives by default
)

// stream is the active's side: what it has to tell.
type stream struct {
	cfg   *Config
	names speaker
	on    bool // the peer listens, and has been told everything since
	owed  bool // a pass must begin, whatever is under way

	budget, bulk int64 // bytes that may be sent now: in all, and by passes
	rest         int64 // thousandths of a byte

	taken   []uint32 // from feed number feed, not yet told
	buf     [takeMost]uint32
	feed    int
	lost    uint64 // as told by the feeds
	polled  flow.Tick
	before  flow.Tick // the poll before
	behind  flow.Tick // all that changed before this has been sent
	drained uint64    // times that the feeds were found empty and all was sent

	slots  int
	told   []flow.Tick // by slot: the deadline that the peer knows
	due    []flow.Tick // by block of slots: when to look at their deadlines again
	ahead  int         // so many of taken have been fetched
	sink   uint64
	recent [takeMost]recent

	pass pass
	scan struct {
		at    int   // block
		due   int64 // blocks times ms
		least int32 // Scan, in ms
	}

	p      *parcel // being filled; nil when none is
	number uint64
}

// recent is an entry that was told in this tick.
type recent struct {
	slot uint32
	tick flow.Tick
	meta flow.Meta
}

// pass is a walk through the whole table, once round from wherever it began.
type pass struct {
	at, left int
	on       bool
	audit    bool
	begun    bool // the peer was told
	want     uint32
	ended    flow.Tick // when the last one was
	due      int64     // for an audit: slots times ms
}

func (t *stream) init(cfg *Config) {
	t.cfg = cfg
	t.slots = cfg.Table.Buckets() * 8
	t.told = make([]flow.Tick, t.slots)
	t.due = make([]flow.Tick, (t.slots+blockSlots-1)/blockSlots)
	t.names.byRef = make(map[uint32]uint32)
	t.polled = cfg.Now()
	t.before = t.polled
	t.scan.least = ticks(cfg.Scan)
	for i := range t.due {
		t.due[i] = t.polled
	}
}

func (t *stream) reset() {
	t.names.reset()
	t.on = false
	t.pass.on, t.pass.want = false, 0
}

// earn adds what ms milliseconds are worth to the budgets.
func (t *stream) earn(ms int32) {
	ms = min(ms, burst)
	rate := int64(t.cfg.Rate)
	most := max(rate*burst/1000, 2*maxDatagram)
	got := rate*int64(ms) + t.rest
	t.rest = got % 1000
	t.budget = min(t.budget+got/1000, most)
	t.bulk = min(t.bulk+got/2000, most/2)
}

// discard empties the feeds: a pass will tell it all. It tells whether there was
// anything.
func (t *stream) discard() (any bool) {
	t.taken, t.ahead, t.on = nil, 0, false
	for _, f := range t.cfg.Feeds {
		for n := len(t.buf); n == len(t.buf); {
			n = f.Take(t.buf[:])
			any = any || n > 0
		}
	}
	return any
}

// pump sends what the active has to tell.
func (e *engine) pump(s *session, now flow.Tick) {
	t := &e.stream
	t.before, t.polled = t.polled, now
	if !e.active || !s.known || s.peerActive {
		if t.discard() && !e.active {
			e.mirror.touched = true
		}
		return
	}
	if !t.on || t.pass.want != s.peerWant {
		t.owed = true
	}
	if !t.on {
		t.discard()
		t.on, t.pass.on, t.behind = true, false, now
	}
	e.drain(now)
	lost := uint64(0)
	for _, f := range t.cfg.Feeds {
		lost += f.Lost()
	}
	if lost != t.lost {
		e.totals.lost += lost - t.lost
		t.lost, t.owed = lost, true
	}
	e.walk(s, now)
	e.rescan(now)
	e.close(now)
}

// drain tells what the feeds hold.
func (e *engine) drain(now flow.Tick) {
	t := &e.stream
	for empty := 0; empty <= len(t.cfg.Feeds); {
		if len(t.taken) == 0 {
			if empty == len(t.cfg.Feeds) {
				break
			}
			t.feed = (t.feed + 1) % len(t.cfg.Feeds)
			n := t.cfg.Feeds[t.feed].Take(t.buf[:])
			t.taken, t.ahead = t.buf[:n], 0
			empty++
			if n == len(t.buf) {
				empty = 0
			}
			continue
		}
		if !e.room(window) {
			return
		}
		if t.ahead == 0 {
			t.fetch()
		}
		slot := t.taken[0]
		t.taken, t.ahead = t.taken[1:], t.ahead-1
		e.change(slot, now)
	}
	t.drained++
	t.behind = now
}

// fetch reads the next slots side by side, so that their memory is at hand when
// they are told of one by one.
func (t *stream) fetch() {
	t.ahead = min(len(t.taken), fetchMost)
	for _, slot := range t.taken[:t.ahead] {
		if int(slot) < t.slots {
			k, _, _, _ := t.cfg.Table.Read(slot)
			t.sink += k.Tail + uint64(t.told[slot])
		}
	}
}

// room tells whether an item fits, of those that may keep flying datagrams busy.
func (e *engine) room(flying int) bool {
	t := &e.stream
	if t.p != nil && len(t.p.buf)+maxNameLen+recordLen6 <= headerLen+maxPayload {
		return true
	}
	return t.budget > 0 && e.out.flying() < flying
}

// change tells of one slot from a feed.
func (e *engine) change(slot uint32, now flow.Tick) {
	t := &e.stream
	if int(slot) >= t.slots {
		return
	}
	k, en, deadline, ok := t.cfg.Table.Read(slot)
	if !ok {
		return
	}
	r := &t.recent[slot%takeMost]
	if r.slot == slot && r.tick == now && r.meta == en.Meta {
		return // changed twice, and told as it is now
	}
	if !en.Meta.State().Confirmed() && t.budget < int64(t.cfg.Rate)*burst/4000 {
		// In a flood the confirmed come first; the scan tells the others later.
		t.know(slot, now, now)
		e.totals.shed++
		return
	}
	if e.tell(&k, en, deadline, now) {
		*r = recent{slot: slot, tick: now, meta: en.Meta}
		if !t.p.live {
			t.p.live, t.p.born = true, t.behind
		}
	}
}

// tell writes a record. It returns false if there is nothing to tell.
func (e *engine) tell(k *frame.Key, en flow.Entry, deadline, now flow.Tick) bool {
	t := &e.stream
	// What has just ended may have more time on the backup: it ends there at once.
	left := max(1, now.Until(deadline))
	state := en.Meta.State()
	if !carried(state) {
		return false
	}
	n, fresh, ok := t.names.number(en.Meta.Backend(), t.cfg.Backends)
	if !ok {
		t.know(en.Slot, now, now) // the scan tries again
		e.totals.nameless++
		return false
	}
	name := &t.names.names[n]
	if fresh {
		e.open(now)
		t.p.buf = appendName(t.p.buf, n, &name.id)
	}
	if k.DstHi != name.dstHi || k.DstLo != name.dstLo || k.Proto() != name.id.Proto {
		t.know(en.Slot, now, now)
		e.totals.nameless++
		return false
	}
	e.open(now)
	r := record{
		state: state, v6: !k.Is4(), name: n, left: uint32(left),
		srcHi: k.SrcHi, srcLo: k.SrcLo, src: k.SrcPort(), dst: k.DstPort(),
	}
	t.p.buf = r.append(t.p.buf)
	t.know(en.Slot, deadline, now)
	e.totals.recordsOut++
	return true
}

// open makes sure that there is a datagram with room for a name and a record.
func (e *engine) open(now flow.Tick) {
	t := &e.stream
	if t.p != nil && len(t.p.buf)+maxNameLen+recordLen6 > headerLen+maxPayload {
		e.close(now)
	}
	if t.p == nil {
		t.p, t.number = e.out.add()
		t.p.buf = t.p.buf[:headerLen]
	}
}

// close sends the datagram that is being filled.
func (e *engine) close(now flow.Tick) {
	t := &e.stream
	p := t.p
	if p == nil {
		return
	}
	t.p = nil
	p.sent = now
	p.buf = e.session.tx.seal(p.buf, kindData, t.number)
	e.put(p.buf)
}

// walk goes on with the pass, or begins one.
func (e *engine) walk(s *session, now flow.Tick) {
	t := &e.stream
	w := &t.pass
	switch {
	case t.owed:
		t.owed = false
		w.on, w.left, w.audit, w.begun, w.want = true, t.slots, false, false, s.peerWant
		e.totals.passes++
	case !w.on:
		if age(w.ended, now) < ticks(t.cfg.Audit)/8 {
			return
		}
		w.on, w.left, w.audit, w.begun, w.due = true, t.slots, true, false, 0
	}
	most := w.left
	if w.audit {
		w.due += int64(t.slots) * int64(min(age(t.before, now), 100))
		most = min(most, int(w.due/int64(ticks(t.cfg.Audit))))
		w.due -= int64(most) * int64(ticks(t.cfg.Audit))
	}
	for {
		if t.bulk <= 0 || !e.room(bulkFlying) {
			return
		}
		if !w.begun {
			w.begun = true
			e.open(now)
			t.p.buf = appendPass(t.p.buf, itemBegin, e.passFlags(), w.want)
		}
		if w.left == 0 {
			e.open(now)
			t.p.buf = appendPass(t.p.buf, itemEnd, e.passFlags(), w.want)
			w.on, w.ended = false, now
			return
		}
		if most == 0 {
			return
		}
		most--
		w.left--
		e.revisit(w.at, now, false)
		if w.at++; w.at >= t.slots {
			w.at = 0
		}
	}
}

func (e *engine) passFlags() (f byte) {
	if e.stream.pass.audit {
		f |= passAudit
	}
	if e.whole {
		f |= passWhole
	}
	return f
}
