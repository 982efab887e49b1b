package flowsync

import (
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// mirror is the backup's side: what it does with what it is told.
type mirror struct {
	cfg     *Config
	names   listener
	marking bool     // a pass goes on
	touched bool     // our own workers changed the table meanwhile: we are about to be active
	marks   []uint64 // a bit per slot: told since the pass began
	item    item
}

func (m *mirror) init(cfg *Config) { m.cfg = cfg }

func (m *mirror) reset() {
	m.names.reset()
	m.marking = false
}

// apply does what a payload says. Payloads come complete and in order.
func (e *engine) apply(s *session, p []byte, now flow.Tick) {
	m := &e.mirror
	for len(p) > 0 {
		var ok bool
		if p, ok = m.item.next(p); !ok {
			e.totals.refused[Malformed]++
			return
		}
		switch m.item.sort {
		case itemName:
			// Also when active: the peer will not say it again.
			m.names.define(m.item.name, m.item.id, m.cfg.Backends)
		case itemBegin:
			e.passBegins(s)
		case itemEnd:
			e.passEnds(s)
		default:
			if r := e.learn(&m.item.record, now); r != Accepted {
				e.totals.refused[r]++
			} else {
				e.totals.recordsIn++
			}
		}
	}
}

// learn brings one entry to where the active has it.
func (e *engine) learn(r *record, now flow.Tick) Reason {
	m := &e.mirror
	if e.active {
		return Role
	}
	if int(r.name) >= len(m.names.names) || !m.names.names[r.name].defined {
		return Malformed
	}
	name := &m.names.names[r.name]
	k, ok := r.key(name)
	if !ok {
		return Malformed
	}
	name.used = true
	if !name.known {
		return Unknown
	}
	t, l := m.cfg.Table, m.cfg.Ledger
	h := t.Hash(&k)
	deadline := now + flow.Tick(r.left)
	// The sweep may take the entry away between any two steps.
	for range 4 {
		en, ok := t.Lookup(&k, h)
		if ok && en.Meta.Backend() != name.ref {
			if e.taking && r.state.Closing() && !en.Meta.State().Closing() {
				return Accepted // our own worker has a new connection under the old key
			}
			t.Remove(en, l)
			ok = false
		}
		if !ok {
			var result flow.Result
			en, result = t.Insert(&k, h, flow.MakeMeta(r.state, name.ref), deadline, now, l)
			switch result {
			case flow.Existed:
				continue
			case flow.Full, flow.Bounded:
				return NoRoom
			}
		}
		t.Extend(en, deadline)
		if en.Meta.State() != r.state && !t.Update(&en, en.Meta.With(r.state), l) {
			continue
		}
		m.mark(en.Slot)
		return Accepted
	}
	return NoRoom
}

// key rebuilds a record's key; false when it does not fit its name or state.
func (r *record) key(name *heard) (frame.Key, bool) {
	kind, proto := frame.KeyFlow, name.id.Proto
	switch {
	case r.state >= flow.TemplateNew:
		kind = frame.KeyTemplate
	case r.state >= flow.UDPNew && proto != frame.ProtoUDP, r.state < flow.UDPNew && proto != frame.ProtoTCP:
		return frame.Key{}, false
	}
	k := frame.Key{
		SrcHi: r.srcHi, SrcLo: r.srcLo, DstHi: name.dstHi, DstLo: name.dstLo,
		Tail: frame.Tail(r.src, r.dst, proto, kind),
	}
	return k, k.Is4() != r.v6 && (proto == frame.ProtoTCP || proto == frame.ProtoUDP)
}

func (e *engine) passBegins(s *session) {
	m := &e.mirror
	if e.active || e.taking {
		return
	}
	if m.item.flags&passAudit == 0 {
		e.mirrored = false
		e.setSynced(s, false)
	}
	if m.marks == nil {
		m.marks = make([]uint64, (m.cfg.Table.Buckets()*8+63)/64)
	}
	clear(m.marks)
	e.stream.discard()
	m.marking, m.touched = true, false
}

func (e *engine) passEnds(s *session) {
	m := &e.mirror
	if e.active || !m.marking {
		return
	}
	m.marking = false
	if e.stream.discard() || m.touched {
		e.wish(s) // what was not told may be new
		return
	}
	if m.item.flags&passWhole != 0 {
		e.totals.removed += m.removeUnmarked()
	}
	if m.item.want == s.want && m.item.flags&passAudit == 0 {
		e.mirrored = true
		e.setSynced(s, true)
		e.ack = true
	}
}

func (m *mirror) mark(slot uint32) {
	if m.marking {
		m.marks[slot/64] |= 1 << (slot % 64)
	}
}

// removeUnmarked ends all entries that the active did not tell of.
func (m *mirror) removeUnmarked() (n uint64) {
	m.cfg.Table.Range(func(_ *frame.Key, en flow.Entry, _ flow.Tick) bool {
		if m.marks[en.Slot/64]>>(en.Slot%64)&1 == 0 && carried(en.Meta.State()) && m.cfg.Table.Remove(en, m.cfg.Ledger) {
			n++
		}
		return true
	})
	return n
}
