// Package machine is the configuration store of one machine: generations side by
// side, one of them current, and the switch between them, which a crash at any
// instant leaves wholly done or wholly undone.
//
// # What lies where
//
//	DIR/state.json            what the machine is on, and the journal of what is under way
//	DIR/current               -> generations/0000000007: the swap of this link is the switch
//	DIR/previous              -> generations/0000000006, while 7 is not confirmed
//	DIR/generations/N/root/   the files as they lie below "/"
//	DIR/generations/N/config.json, manifest.json, manifest.json.minisig, bundle.json, bundle.json.minisig
//	DIR/adopted/PATH~TIME~SUM what others wrote where our files go, or over them
//	DIR/incoming/             uploads; this package only makes it
//	DIR/lock                  who works here
//
// A file's real path is a link to DIR/current/root/PATH, so that the swap changes all
// of them at once. What systemd reads before /var is there (below /etc/systemd and
// /etc/sysctl.d) is a copy instead: systemctl enable follows links down to the
// generation's own directory, and disable removes a unit that is a link. Copies are
// put in place right after the swap, and again by Recover.
//
// # Order
//
// Every step is durable (fsync of the file and of its directory) before the next one.
// The record is written first (what, from, to), then the swap, then the rest, then the
// record again. Recover looks at where current points: on the way forward it goes on
// if the swap was done and undoes if not; on the way back it always goes on.
package machine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// DefaultDir is where a machine keeps its generations.
const DefaultDir = "/var/lib/svm-config"

// Config configures a Store.
type Config struct {
	Root      string // prefix of all files' paths; "/" on a real machine
	Dir       string // the store, usually DefaultDir; no file is delivered into it
	Activator Activator
	Log       *slog.Logger // nil: nothing is logged
	// Group may read the proofs (bundle.json and the like) where there is such a group
	// and the store is root's; empty: only root may.
	Group string
	// LockWait is how long a method waits for another one, of any process; 0: 10 s.
	LockWait time.Duration
}

// Activator makes the machine obey the current generation. A manifest's files lie in
// Dir/generations/N/root (see Tree) as long as they are spoken of. Calls are never
// concurrent, and each may come again after a crash: then it does no harm.
type Activator interface {
	// Check tells whether a staged configuration would be accepted; dir holds its
	// files as they would lie below "/". It changes nothing.
	Check(ctx context.Context, c *render.Manifest, dir string) error
	// Activate makes daemons obey now, whose files are in place. old is what ruled
	// before: nil on a bare machine, or when that isn't known. What old needs stays as
	// long as Settle hasn't been called, because the machine may have to go back: a real
	// server has both generations' addresses. Where now is nil the machine becomes bare:
	// stop what old started; its files still lie there.
	Activate(ctx context.Context, old, now *render.Manifest) error
	// Settle takes away what only old needed: now is confirmed, or was returned to. The
	// files that only old has go after it. Where now is nil they are gone already.
	Settle(ctx context.Context, old, now *render.Manifest) error
}

// Proof is kept beside a generation: where it came from, in the station's words. The
// store checks that Manifest fits the files; signatures are the caller's business.
type Proof struct {
	Manifest, Signature []byte // an empty Manifest is made from the files
	Bundle, BundleSig   []byte // directors only: what they make the real servers' parts of
}

// Errors that callers tell apart.
var (
	// ErrOld says that a generation is older than, or the same as, what was confirmed.
	ErrOld = errors.New("older than what this machine has confirmed")
	// ErrNotStaged says that a generation was to be switched to that isn't staged.
	ErrNotStaged = errors.New("not staged on this machine")
	// ErrNotCurrent says that a generation was to be confirmed that doesn't rule.
	ErrNotCurrent = errors.New("not the current one on this machine")
	// ErrForeign says that a configuration is of another cluster.
	ErrForeign = errors.New("of another cluster")
	// ErrRefused says that a configuration is malformed, too big, or doesn't fit its manifest.
	ErrRefused = errors.New("refused")
	// ErrBusy says that another process held the lock all the time.
	ErrBusy = errors.New("the machine's configuration is being changed")
)
