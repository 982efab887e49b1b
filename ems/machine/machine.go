// Package machine is the configuration store of one machine: generations side by
// side, one of them current, and the switch between them, which a crash at any
// instant leaves wholly done or wholly undone.
package machine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

var errStub = errors.New("machine: not written yet")

// DefaultDir is where a machine keeps its generations.
const DefaultDir = "/var/lib/svm-config"

// Config configures a Store.
type Config struct {
	Root      string // prefix of all files' paths; "/" on a real machine
	Dir       string // the store, usually DefaultDir; it isn't below Root's prefix
	Activator Activator
	Log       *slog.Logger
}

// Activator makes the machine obey the current generation.
type Activator interface {
	// Check tells whether a staged configuration would be accepted; dir holds its
	// files as they would lie below "/". It changes nothing.
	Check(ctx context.Context, c *render.Manifest, dir string) error
	// Activate makes daemons obey the files that are current now. old is nil on the
	// first time. It is called again after a crash, and then does no harm.
	Activate(ctx context.Context, old, now *render.Manifest) error
}

// Proof is kept beside a generation: where it came from, in the station's words.
type Proof struct {
	Manifest, Signature []byte
	Bundle, BundleSig   []byte // directors only: what they make the real servers' parts of
}

// Phase of a machine between two generations.
type Phase string

const (
	Bare     Phase = "bare"     // no generation yet
	Settled  Phase = "settled"  // current is confirmed
	Staged   Phase = "staged"   // a newer one lies ready, the current one rules
	Switched Phase = "switched" // the newer one rules, not yet confirmed: Rollback returns
)

// State is what a machine is on.
type State struct {
	Node     string        `json:"node"`
	Kind     render.Kind   `json:"kind"`
	Phase    Phase         `json:"phase"`
	Current  *render.Stamp `json:"current,omitempty"`
	Previous *render.Stamp `json:"previous,omitempty"` // while Switched
	Staged   *render.Stamp `json:"staged,omitempty"`
	// Applied is what was activated last; other than Current only between a switch and
	// its activation, or when that was interrupted.
	Applied   *render.Stamp `json:"applied,omitempty"`
	Confirmed uint64        `json:"confirmed"` // the highest generation that was confirmed; older ones are refused
	Since     time.Time     `json:"since"`     // of Current
	Drift     []Drift       `json:"drift,omitempty"`
}

// Drift is one file that is not what was delivered.
type Drift struct {
	Path    string `json:"path"`
	Problem string `json:"problem"` // "changed by hand", "missing", "mode is 0644, not 0600", ...
}

// Store is the configuration store of this machine. Its methods take its lock (across
// processes, too) and are safe for concurrent use.
type Store struct{ cfg Config }

// Open makes sure that the store's directories are there.
func Open(cfg Config) (*Store, error) { return nil, errStub }

// Stage writes c beside the current generation, durably, and has the Activator check
// it. Nothing that rules now changes. The same generation may be staged again; one
// that is not newer than Confirmed is refused with ErrOld.
func (s *Store) Stage(ctx context.Context, c *render.Config, p Proof) error { return errStub }

// Switch makes the staged generation current and activates it. If that fails it is
// rolled back and the error says why. Switching to the current one does nothing.
func (s *Store) Switch(ctx context.Context, generation uint64) error { return errStub }

// Confirm forgets the previous generation's right to return.
func (s *Store) Confirm(ctx context.Context, generation uint64) error { return errStub }

// Rollback leaves generation: a switched one gives way to the previous one, a staged
// one is dropped. Where the machine isn't on it, nothing happens.
func (s *Store) Rollback(ctx context.Context, generation uint64) error { return errStub }

// Recover ends what a crash interrupted: an activation is repeated, a half-written
// generation removed. Every other method calls it first.
func (s *Store) Recover(ctx context.Context) error { return errStub }

// State reads what the machine is on, with its drift.
func (s *Store) State(ctx context.Context) (State, error) { return State{}, errStub }

// Current is the current generation's proof; nil on a bare machine.
func (s *Store) Current() (*render.Manifest, *Proof, error) { return nil, nil, errStub }

// ErrOld says that a generation is older than, or the same as, what was confirmed.
var ErrOld = errors.New("older than what this machine has confirmed")
