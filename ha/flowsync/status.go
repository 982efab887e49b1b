package flowsync

import (
	"encoding/json"
	"time"
)

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
// Durations are nanoseconds in JSON.
type Status struct {
	Active     bool          `json:"active"`
	Taking     bool          `json:"taking"`      // about to be active: see Take
	Yielding   bool          `json:"yielding"`    // about to be a backup: see Yield
	Session    bool          `json:"session"`     // with the peer
	Heard      time.Duration `json:"heard"`       // since the peer was last heard; 0 without a session
	PeerActive bool          `json:"peer_active"` // as the peer says
	PeerSynced bool          `json:"peer_synced"` // the peer, a backup, has our whole table
	Synced     bool          `json:"synced"`      // we, a backup, have the peer's whole table
	Whole      bool          `json:"whole"`       // we, the active, know all connections that live

	Greetings uint64 `json:"greetings"` // authentic ones that arrived
	Sessions  uint64 `json:"sessions"`  // begun
	Clashes   uint64 `json:"clashes"`   // times that both directors were seen active
	Passes    uint64 `json:"passes"`    // walks through the whole table to make up for something

	DatagramsOut    uint64   `json:"datagrams_out"`
	BytesOut        uint64   `json:"bytes_out"`
	RecordsOut      uint64   `json:"records_out"`
	DatagramsIn     uint64   `json:"datagrams_in"`
	BytesIn         uint64   `json:"bytes_in"`
	RecordsIn       uint64   `json:"records_in"`
	Resent          uint64   `json:"resent"` // datagrams
	SendErrors      uint64   `json:"send_errors"`
	Lost            uint64   `json:"lost"`             // changes that a feed had no room for
	Shed            uint64   `json:"shed"`             // half-open ones put off in a flood
	Nameless        uint64   `json:"nameless"`         // entries here whose backend is gone
	Removed         uint64   `json:"removed"`          // entries that ended because the active has them no more
	Flying          int      `json:"flying"`           // datagrams sent and not confirmed
	UnknownBackends int      `json:"unknown_backends"` // of the peer, not configured here
	Refused         Refusals `json:"refused"`

	// Lag is the time from a change to the peer's word that it has it, of the last
	// confirmed datagram: an upper bound, in whole milliseconds. Worst is the
	// longest since the last Status.
	Lag   time.Duration `json:"lag"`
	Worst time.Duration `json:"worst"`
}

// Refusals counts what was refused, by Reason. In JSON they have their names, and
// those that never happened are left out.
type Refusals [NumReasons]uint64

// MarshalJSON implements json.Marshaler.
func (r Refusals) MarshalJSON() ([]byte, error) {
	named := map[string]uint64{}
	for i, n := range r {
		if n > 0 {
			named[Reason(i).String()] = n
		}
	}
	return json.Marshal(named)
}

// UnmarshalJSON implements json.Unmarshaler. Reasons of another release are
// passed over.
func (r *Refusals) UnmarshalJSON(b []byte) error {
	var named map[string]uint64
	if err := json.Unmarshal(b, &named); err != nil {
		return err
	}
	*r = Refusals{}
	for i := range r {
		r[i] = named[Reason(i).String()]
	}
	return nil
}

func (e *engine) describe() Status {
	t := &e.totals
	st := Status{
		Active: e.active, Taking: e.taking, Yielding: e.yielding, Whole: e.active && e.whole,
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
