package flowsync

import "time"

// totals are the engine's counters.
type totals struct {
	sessions, clashes, passes, greetings uint64
	datagramsOut, bytesOut, recordsOut   uint64
	datagramsIn, bytesIn, recordsIn      uint64
	resent, lost, shed, nameless         uint64
	removed, sendErrors                  uint64
	refused                              [NumReasons]uint64
	lag, worst                           int32  // ms
	changes                              uint64 // of what Changes tells
}

// Status is what there is to see. Counters never go back while Sync lives.
type Status struct {
	Active     bool
	Session    bool          // with the peer
	Heard      time.Duration // since the peer was last heard; 0 without a session
	PeerActive bool
	PeerSynced bool // the peer, a backup, has our whole table
	Synced     bool // we, a backup, have the peer's whole table
	Whole      bool // we, the active, know all connections that live

	Greetings uint64 // authentic ones that arrived
	Sessions  uint64 // begun
	Clashes   uint64 // times that both directors were seen active
	Passes    uint64 // walks through the whole table to make up for something

	DatagramsOut, BytesOut, RecordsOut uint64
	DatagramsIn, BytesIn, RecordsIn    uint64
	Resent                             uint64 // datagrams
	SendErrors                         uint64
	Lost                               uint64 // changes that a feed had no room for
	Shed                               uint64 // half-open ones put off in a flood
	Nameless                           uint64 // entries here whose backend is gone
	Removed                            uint64 // entries that ended because the active has them no more
	Flying                             int    // datagrams sent and not confirmed
	UnknownBackends                    int    // of the peer, not configured here
	Refused                            [NumReasons]uint64

	// Lag is the time from a change to the peer's word that it has it, of the last
	// confirmed datagram: an upper bound, in whole milliseconds. Worst is the
	// longest since the last Status.
	Lag, Worst time.Duration
}

func (e *engine) describe() Status {
	t := &e.totals
	st := Status{
		Active: e.active, Whole: e.active && e.whole,
		Greetings: t.greetings, Sessions: t.sessions, Clashes: t.clashes, Passes: t.passes,
		DatagramsOut: t.datagramsOut, BytesOut: t.bytesOut, RecordsOut: t.recordsOut,
		DatagramsIn: t.datagramsIn, BytesIn: t.bytesIn, RecordsIn: t.recordsIn,
		Resent: t.resent, SendErrors: t.sendErrors, Lost: t.lost, Shed: t.shed, Nameless: t.nameless,
		Removed: t.removed, Refused: t.refused,
		Lag: time.Duration(t.lag) * time.Millisecond, Worst: time.Duration(t.worst) * time.Millisecond,
	}
	t.worst = 0
	if s := e.session; s != nil {
		st.Session = true
		st.Heard = time.Duration(s.heard.Until(e.cfg.Now())) * time.Millisecond
		st.PeerActive, st.PeerSynced, st.Synced = s.peerActive, s.peerSynced, s.synced
		st.Flying = e.out.flying()
		st.UnknownBackends = e.mirror.names.unknown()
	}
	return st
}
