package ha

import (
	"net/netip"
	"time"
)

// Event is something that the machine is told: one of the types below.
type Event interface{ event() }

type (
	// Startup begins the protocol (RFC 9568 section 6.4.1).
	Startup struct{}
	// Shutdown ends it at once: an active says goodbye and stops.
	Shutdown struct{}
	// Tick says that the time of the last SetTimer has come.
	Tick struct{}
	// Received is an advertisement that passed all checks.
	Received struct {
		Advert
		Path   int        // where it was heard: lower numbers decide ties first
		Sender netip.Addr // its source
		Local  netip.Addr // our own address on that path
		Node   netip.Addr // the sender's canonical address, where it is authenticated
	}
	// Track is the sum of all tracking: what is added to the priority, and
	// whether this director must not be active at all.
	Track struct {
		Delta int
		Fault string // the reason; "": none
	}
	// SyncReady says whether flow synchronisation is complete.
	SyncReady struct{ Ready bool }
	// Takeover makes this director the active one now. It outranks the peer until
	// it is beaten, released or started again.
	Takeover struct{}
	// Release gives the role away: the peer takes over; this director becomes
	// active again only when nobody else is, or by Takeover.
	Release struct{}
	// Leave gives the role away before a shutdown: Left follows.
	Leave struct{}
	// ForeignAnnounce says that somebody else announced or answered for one of
	// our VIPs.
	ForeignAnnounce struct {
		VIP  netip.Addr
		From string
	}
	// SetPriority changes the configured priority.
	SetPriority struct{ Priority uint8 }
	// PeerGone is a hint that the active director's process has ended: nobody
	// listens any more where it listened. It may be wrong or forged, so it only
	// shortens the silence that makes a backup take over; see GoneInterval.
	PeerGone struct{}
)

func (Startup) event()         {}
func (Shutdown) event()        {}
func (Tick) event()            {}
func (Received) event()        {}
func (Track) event()           {}
func (SyncReady) event()       {}
func (Takeover) event()        {}
func (Release) event()         {}
func (Leave) event()           {}
func (ForeignAnnounce) event() {}
func (SetPriority) event()     {}
func (PeerGone) event()        {}

// Action is something that the machine wants done, in order.
type Action interface{ action() }

type (
	// Send sends an advertisement on every link, in every family in use.
	Send struct {
		Priority uint8
		Interval time.Duration
	}
	// SetTimer replaces the one timer: Tick is due at At. A zero At stops it.
	SetTimer struct{ At time.Duration }
	// BecomeActive: forward from now on.
	BecomeActive struct{ Why string }
	// BecomeBackup: forward no more, answer for no VIP.
	BecomeBackup struct{ Why string }
	// Announce: gratuitous ARP and unsolicited NA for all VIPs, now.
	Announce struct{}
	// Left: the role was given away, or nobody wanted it.
	Left struct{}
	// Report is for the log, the counters and the operator.
	Report struct {
		Kind   ReportKind
		Detail string
	}
)

func (Send) action()         {}
func (SetTimer) action()     {}
func (BecomeActive) action() {}
func (BecomeBackup) action() {}
func (Announce) action()     {}
func (Left) action()         {}
func (Report) action()       {}

// ReportKind names what a Report is about.
type ReportKind string

const (
	SplitBrain   ReportKind = "split-brain"     // another active is heard, and this one stays
	SplitHealed  ReportKind = "split-healed"    // it is heard no more
	ForeignVIP   ReportKind = "foreign-vip"     // somebody else claims a VIP while this one is active
	ClockStall   ReportKind = "clock-stall"     // the timer came far too late
	SyncTimeout  ReportKind = "sync-timeout"    // preempts though flow synchronisation never became complete
	PreemptHeld  ReportKind = "preempt-held"    // would preempt, but waits
	PriorityIs   ReportKind = "priority"        // the effective priority changed
	NobodyTook   ReportKind = "nobody-took-it"  // a released role found no taker
	TakeoverMoot ReportKind = "takeover-failed" // the peer cannot be outranked, or a fault forbids it
)
