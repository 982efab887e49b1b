package flowsync

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
)

// Identity names a backend in a way that both directors understand.
type Identity struct {
	VIP    netip.Addr
	Proto  uint8
	Port   uint16     // the service's first
	Server netip.Addr // the real server
}

// Backends translates between identities and this director's own references, which
// is what its table holds. Calls come from Run's goroutines, one at a time, and
// must not call back into Sync.
type Backends interface {
	// Identity returns who is meant by a reference; false when it is gone.
	Identity(ref uint32) (Identity, bool)
	// Ref is the inverse; false when this director knows no such backend (yet).
	Ref(id Identity) (uint32, bool)
}

// Config says who speaks with whom about what. Nothing of it may change later.
type Config struct {
	Key           [32]byte // shared by the pair, see ha.key_file
	Local, Remote netip.AddrPort
	Table         *flow.Table
	Feeds         []*flow.Feed // one a worker; Sync is their only reader
	Backends      Backends
	Ledger        flow.Ledger      // told of what Sync puts into Table; called like Backends
	Now           func() flow.Tick // safe for concurrent use
	Log           *slog.Logger
	// OnGone is told, at once and maybe many times, that the peer's host says that
	// nobody listens any more at the active peer's end of a session: its process
	// has probably ended. Anyone who can forge ICMP can say so: take it for a hint.
	// It must neither block nor call back into Sync. nil: nobody is told.
	OnGone func()
	// OnTaken is called when Take has come to its end, and OnYield when the other
	// director says that it answers for the VIPs no more: whoever takes over may
	// announce them again. The rules of OnGone hold. nil: nobody is told.
	OnTaken, OnYield func()

	// Batch is how long a change may wait for others to share its datagram.
	// Default 5 ms.
	Batch time.Duration
	// Rate bounds what is sent, in bytes a second; whole passes through the table
	// get at most half of it. Default 32 MiB.
	Rate int
	// Scan is the time in which the active looks once at all deadlines, so that
	// none runs out on the backup. It should be below a quarter of the shortest
	// timeout. Default 2 s.
	Scan time.Duration
	// Audit is how often the whole table is told again, spread over that time. It
	// removes from the backup what ended on the active before its time. Default
	// 10 min.
	Audit time.Duration
	// Silence is how long the peer may say nothing before its session ends.
	// Default 1 s.
	Silence time.Duration
	// Settle is how long a director that became active without the whole table must
	// have been active before it knows all that lives; until then its backup keeps
	// what the active doesn't have. It should be the longest timeout. Default 15 min.
	Settle time.Duration
}

func (c *Config) complete() error {
	switch {
	case c.Key == [32]byte{}:
		return errors.New("flowsync: the key is all zeros: make one with svm-fwd genkey")
	case !c.Local.IsValid() || !c.Remote.IsValid() || c.Local.Port() == 0 || c.Remote.Port() == 0:
		return fmt.Errorf("flowsync: addresses %v and %v: want two addresses with ports", c.Local, c.Remote)
	case c.Table == nil || c.Backends == nil || c.Ledger == nil || c.Now == nil || c.Log == nil:
		return errors.New("flowsync: Table, Backends, Ledger, Now and Log must all be given")
	}
	c.Local, c.Remote = plain(c.Local), plain(c.Remote)
	if c.Local == c.Remote {
		return fmt.Errorf("flowsync: %v is the address of both directors", c.Local)
	}
	for _, d := range []struct {
		is          *time.Duration
		name        string
		otherwise   time.Duration
		least, most time.Duration
	}{
		{&c.Batch, "Batch", 5 * time.Millisecond, time.Millisecond, 50 * time.Millisecond},
		{&c.Scan, "Scan", 2 * time.Second, 100 * time.Millisecond, time.Minute},
		{&c.Audit, "Audit", 10 * time.Minute, time.Second, 24 * time.Hour},
		{&c.Silence, "Silence", time.Second, 100 * time.Millisecond, time.Minute},
		{&c.Settle, "Settle", 15 * time.Minute, time.Millisecond, 24 * 24 * time.Hour},
	} {
		if *d.is == 0 {
			*d.is = d.otherwise
		}
		if *d.is < d.least || *d.is > d.most {
			return fmt.Errorf("flowsync: %s %v: want %v to %v", d.name, *d.is, d.least, d.most)
		}
	}
	if c.Rate == 0 {
		c.Rate = 32 << 20
	}
	if c.Rate < 64<<10 || c.Rate > 4<<30 {
		return fmt.Errorf("flowsync: Rate %d: want 64 KiB to 4 GiB a second", c.Rate)
	}
	return nil
}

// plain makes two spellings of an address equal.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func ticks(d time.Duration) int32 { return int32(d / time.Millisecond) }

// age returns how many milliseconds ago t was. A little in the future is now, and
// much is long ago: more than half a round of the clock.
func age(t, now flow.Tick) int32 {
	switch d := t.Until(now); {
	case d >= 0:
		return d
	case d > -60_000:
		return 0
	default:
		return math.MaxInt32
	}
}
