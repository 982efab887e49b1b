package flowsync

import "github.com/svm-cluster/svm/forwarder/flow"

// The scan looks at deadlines that moved without a word: a packet of a known
// connection renews its deadline, and no feed is told. To look at every entry every
// Scan would cost more than all else that an idle active does, so entries are kept
// in blocks, and a block is left alone for an eighth of the shortest time that the
// peer gives any of its entries, from Scan to half a minute.
const (
	blockSlots = 64
	scanMost   = 30_000 // ms
	scanPart   = 8
)

// know notes the deadline that the peer knows of an entry.
func (t *stream) know(slot uint32, deadline, now flow.Tick) {
	t.told[slot] = deadline
	b := &t.due[slot/blockSlots]
	if at := now + t.pause(now.Until(deadline)); at.Before(*b) {
		*b = at
	}
}

// pause is how long a block may be left alone whose peer gives an entry so long.
func (t *stream) pause(left int32) flow.Tick {
	return flow.Tick(min(max(left/scanPart, t.scan.least), scanMost))
}

// rescan looks for entries whose deadline the peer knows too badly: it would run
// out although it should not, or the other way round.
func (e *engine) rescan(now flow.Tick) {
	t := &e.stream
	c := &t.scan
	c.due += int64(len(t.due)) * int64(min(age(t.before, now), 100))
	period := int64(ticks(t.cfg.Scan))
	n := min(int(c.due/period), len(t.due))
	c.due -= int64(n) * period
	for ; n > 0; n-- {
		if now.Until(t.due[c.at]) <= 0 && !e.rescanBlock(c.at, now) {
			return // later: a scan that is late is no reason to hurry
		}
		if c.at++; c.at == len(t.due) {
			c.at = 0
		}
	}
}

// rescanBlock returns false when there is no room to tell all of a block.
func (e *engine) rescanBlock(block int, now flow.Tick) bool {
	t := &e.stream
	left := int32(scanMost * scanPart)
	for slot := block * blockSlots; slot < min((block+1)*blockSlots, t.slots); slot++ {
		if t.bulk <= 0 || !e.room(bulkFlying) {
			return false
		}
		if e.revisit(slot, now, true) {
			left = min(left, now.Until(t.told[slot]))
		}
	}
	t.due[block] = now + t.pause(left)
	return true
}

// revisit tells of an entry on a walk; if stale is set, only when it must be. It
// returns whether there is one that lives on.
func (e *engine) revisit(slot int, now flow.Tick, stale bool) bool {
	t := &e.stream
	k, en, deadline, ok := t.cfg.Table.Read(uint32(slot))
	if !ok {
		return false
	}
	if stale {
		ours, theirs := now.Until(deadline), now.Until(t.told[slot])
		if ours <= 0 {
			return false
		}
		if theirs >= ours-ours/4 && theirs/2-1000 <= ours {
			return true
		}
	}
	// A slot without an entry may hold the remains of one: only Lookup can tell.
	if found, ok := t.cfg.Table.Lookup(&k, t.cfg.Table.Hash(&k)); !ok || int(found.Slot) != slot {
		return false
	}
	if e.tell(&k, en, deadline, now) {
		t.bulk -= recordLen4
		if !k.Is4() {
			t.bulk -= recordLen6 - recordLen4
		}
	}
	return true
}
