package ha

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// State is RFC 9568's (section 6.4).
type State uint8

const (
	Initialize State = iota
	Backup
	Active
)

func (s State) String() string { return [...]string{"initialize", "backup", "active"}[s] }

const owner = 255

// MachineConfig is what one virtual router is told at its start.
type MachineConfig struct {
	Priority     uint8         // 1 to 254; 255: the addresses' owner
	Interval     time.Duration // 10 ms to MaxInterval, in steps of 10 ms
	Preempt      bool          // a higher priority takes the role from a lower one
	PreemptDelay time.Duration // how long the lower one must have been heard before
	WaitForSync  bool          // do not preempt before SyncReady ...
	SyncTimeout  time.Duration // ... or before this long has passed in which one could have; 0: 30 s
	Node         netip.Addr    // our canonical address: decides ties between authenticated peers
}

func (c *MachineConfig) check() error {
	switch {
	case c.Priority == 0:
		return errors.New("ha: priority 0 is the goodbye's: want 1 to 254, or 255 for the owner")
	case c.Interval < Centisecond || c.Interval > MaxInterval || c.Interval%Centisecond != 0:
		return fmt.Errorf("ha: interval %v: want 10ms to %v in steps of 10ms", c.Interval, MaxInterval)
	case c.PreemptDelay < 0 || c.SyncTimeout < 0:
		return errors.New("ha: delays must not be negative")
	}
	return nil
}

// Machine is one virtual router as a pure function of time and events: it has no
// clock, no socket and no goroutine. One goroutine uses it. Times are those of
// one monotonic clock.
type Machine struct {
	cfg   MachineConfig
	state State
	since time.Duration // of state

	timer      time.Duration // when Tick is due; 0: never
	activeAdv  time.Duration // Active_Adver_Interval: ours, or learned from the active
	raise      uint8         // priority that Takeover asked for; 0: none
	released   bool
	track      Track
	sync       bool
	advised    uint8 // effective priority last reported
	assertedAt time.Duration

	// A preemption that waits: since when a lower active was heard, and the last
	// time it was.
	lowerSince, lowerLast time.Duration
	held, syncGivenUp     bool
	holdUntil             time.Duration // after a stall

	heard    time.Duration // the last advertisement as backup, or since when there could be one
	leaving  leave
	leaveEnd time.Duration

	tieHeard  [maxPaths]time.Duration // last advertisement of our own priority, by path
	splitFrom time.Duration           // since when another active is heard; 0: none is
	splitLast time.Duration
	peerPrio  uint8 // of the last advertisement that was not a goodbye

	out []Action
}

// maxPaths is how many places advertisements are heard at: links times families.
const maxPaths = 16

type leave uint8

const (
	staying leave = iota
	leaveRelease
	leaveFault
	leaveShutdown
)

// NewMachine returns a machine in Initialize.
func NewMachine(cfg MachineConfig) (*Machine, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.SyncTimeout == 0 {
		cfg.SyncTimeout = 30 * time.Second
	}
	return &Machine{cfg: cfg, activeAdv: cfg.Interval, advised: cfg.Priority}, nil
}

// State returns the state and since when it is.
func (m *Machine) State() (State, time.Duration) { return m.state, m.since }

// Leaving tells whether the role is being given away.
func (m *Machine) Leaving() bool { return m.leaving != staying }

// Released tells whether the role was given away by hand.
func (m *Machine) Released() bool { return m.released }

// Raised tells whether a Takeover holds.
func (m *Machine) Raised() bool { return m.raise != 0 }

// Priority is the effective priority: what is advertised and compared.
func (m *Machine) Priority() uint8 {
	switch {
	case m.released:
		return 1
	case m.raise != 0:
		return m.raise
	case m.cfg.Priority == owner && m.track.Delta == 0:
		return owner
	}
	return uint8(min(max(int(m.cfg.Priority)+m.track.Delta, 1), 254))
}

// Timers returns Active_Adver_Interval, Skew_Time and Active_Down_Interval as
// they are now.
func (m *Machine) Timers() (adver, skew, down time.Duration) {
	p := m.Priority()
	return m.activeAdv, SkewTime(p, m.activeAdv), ActiveDownInterval(p, m.activeAdv)
}

func (m *Machine) downInterval() time.Duration { return ActiveDownInterval(m.Priority(), m.activeAdv) }

func (m *Machine) do(a ...Action) { m.out = append(m.out, a...) }

func (m *Machine) report(k ReportKind, format string, args ...any) {
	m.do(Report{k, fmt.Sprintf(format, args...)})
}

func (m *Machine) setTimer(at time.Duration) {
	m.timer = at
	m.do(SetTimer{at})
}

func (m *Machine) send() { m.do(Send{m.Priority(), m.cfg.Interval}) }

func (m *Machine) become(now time.Duration, s State) {
	m.state, m.since, m.heard = s, now, now
	m.splitFrom, m.leaving, m.held, m.lowerSince = 0, staying, false, 0
	m.tieHeard = [maxPaths]time.Duration{}
}

func (m *Machine) becomeActive(now time.Duration, why string) {
	m.become(now, Active)
	m.activeAdv = m.cfg.Interval
	m.do(BecomeActive{why})
	m.send()
	m.do(Announce{})
	m.setTimer(now + m.cfg.Interval)
}

// becomeBackup leaves the role. adv is the interval of the new active.
func (m *Machine) becomeBackup(now time.Duration, adv time.Duration, why string) {
	m.become(now, Backup)
	m.activeAdv = adv
	m.do(BecomeBackup{why})
	m.setTimer(now + m.downInterval())
}
