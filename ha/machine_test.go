package ha

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// show writes actions the way the tables below do.
func show(as []Action) string {
	var out []string
	for _, a := range as {
		switch a := a.(type) {
		case Send:
			out = append(out, fmt.Sprintf("send%d", a.Priority))
		case SetTimer:
			out = append(out, fmt.Sprintf("timer@%v", a.At))
		case BecomeActive:
			out = append(out, "ACTIVE")
		case BecomeBackup:
			out = append(out, "BACKUP")
		case Announce:
			out = append(out, "announce")
		case Left:
			out = append(out, "left")
		case Report:
			out = append(out, "report:"+string(a.Kind))
		}
	}
	return strings.Join(out, " ")
}

func adv(prio uint8, interval time.Duration) Received {
	return heard(prio, interval, 0, "10.0.0.2", "10.0.0.1")
}

func heard(prio uint8, interval time.Duration, path int, sender, local string) Received {
	return Received{Advert: Advert{VRID: 7, Priority: prio, Interval: interval}, Path: path, Sender: addr(sender), Local: addr(local)}
}

type step struct {
	at   time.Duration
	ev   Event
	want string
}

// t0 is when the tables start: times are never 0.
const t0 = 1000 * ms

// Priority 100 and interval 100 ms: skew 156*100/256 = 60.9375 ms, down interval
// 360.9375 ms; from an active with 1 s: 609.375 and 3609.375 ms.
func TestTransitions(t *testing.T) {
	base := MachineConfig{Priority: 100, Interval: 100 * ms, Preempt: true}
	with := func(f func(*MachineConfig)) MachineConfig { c := base; f(&c); return c }
	noPreempt := with(func(c *MachineConfig) { c.Preempt = false })
	toBackup := step{t0, Startup{}, "BACKUP timer@1.3609375s"}
	fire := step{1360937500, Tick{}, "ACTIVE send100 announce timer@1.4609375s"}
	active := []step{toBackup, fire}
	tests := []struct {
		name  string
		cfg   MachineConfig
		steps []step
		end   State
	}{
		// 6.4.1 Initialize
		{"startup of a backup", base, []step{toBackup}, Backup},
		{"startup of the owner", with(func(c *MachineConfig) { c.Priority = 255 }),
			[]step{{t0, Startup{}, "ACTIVE send255 announce timer@1.1s"}}, Active},
		{"nothing is heard before startup", base, []step{{t0, adv(200, 100*ms), ""}, {t0, Tick{}, ""}, {t0, Shutdown{}, ""}}, Initialize},
		{"startup twice", base, []step{toBackup, {t0 + 1, Startup{}, ""}}, Backup},
		// 6.4.2 Backup
		{"down timer fires", base, active, Active},
		{"tick too early", base, []step{toBackup, {1360937499, Tick{}, "timer@1.3609375s"}}, Backup},
		{"shutdown of a backup", base, []step{toBackup, {1100 * ms, Shutdown{}, "timer@0s"}}, Initialize},
		{"goodbye: skew time", base, []step{toBackup, {1100 * ms, adv(0, 100*ms), "timer@1.1609375s"},
			{1160937500, Tick{}, "ACTIVE send100 announce timer@1.2609375s"}}, Active},
		{"higher priority resets the timer", base, []step{toBackup, {1100 * ms, adv(200, 100*ms), "timer@1.4609375s"}}, Backup},
		{"equal priority resets it too", base, []step{toBackup, {1100 * ms, adv(100, 100*ms), "timer@1.4609375s"}}, Backup},
		{"the active's interval is learned", base, []step{toBackup, {1100 * ms, adv(200, time.Second), "timer@4.709375s"},
			{1200 * ms, adv(0, time.Second), "timer@1.809375s"}}, Backup},
		{"lower priority is not heard, with preempt", base, []step{toBackup, {1100 * ms, adv(99, 100*ms), ""}, {1360937500, Tick{}, fire.want}}, Active},
		{"lower priority is heard, without preempt", noPreempt, []step{toBackup, {1100 * ms, adv(99, 200*ms), "timer@1.821875s"}}, Backup},
		{"the slowest interval", base, []step{toBackup, {1100 * ms, adv(200, MaxInterval), "timer@2m28.90390625s"}}, Backup},
		// 6.4.3 Active
		{"advertisements", base, append(active[:2:2], step{1460937500, Tick{}, "send100 timer@1.5609375s"},
			step{1561 * ms, Tick{}, "send100 timer@1.661s"}), Active},
		{"shutdown of the active", base, append(active[:2:2], step{1400 * ms, Shutdown{}, "send0 BACKUP timer@0s"}), Initialize},
		// Beyond the RFC: the active's process is said to have ended. It would have
		// sent at 1.2 s; a skew time later it is late.
		{"gone and silent", base, []step{toBackup, {1100 * ms, adv(200, 100*ms), "timer@1.4609375s"},
			{1150 * ms, PeerGone{}, "timer@1.2609375s"}, {1260937500, Tick{}, "ACTIVE send100 announce timer@1.3609375s"}}, Active},
		{"gone, in the middle of the silence", base, []step{toBackup, {1100 * ms, adv(200, 100*ms), "timer@1.4609375s"},
			{1300 * ms, PeerGone{}, "timer@1.3s"}}, Backup},
		{"gone, but heard", base, []step{toBackup, {1100 * ms, adv(200, 100*ms), "timer@1.4609375s"},
			{1150 * ms, PeerGone{}, "timer@1.2609375s"}, {1200 * ms, adv(200, 100*ms), "timer@1.5609375s"}}, Backup},
		{"gone at high priority: half an interval", with(func(c *MachineConfig) { c.Priority = 250 }), []step{{t0, Startup{}, "BACKUP timer@1.30234375s"},
			{1050 * ms, PeerGone{}, "timer@1.15s"}, {1100 * ms, PeerGone{}, ""}}, Backup},
		{"gone, when the goodbye is faster", base, []step{toBackup, {1100 * ms, adv(0, 100*ms), "timer@1.1609375s"}, {1110 * ms, PeerGone{}, ""}}, Backup},
		{"gone, when active", base, append(active[:2:2], step{1400 * ms, PeerGone{}, ""}), Active},
		{"gone, before startup", base, []step{{t0, PeerGone{}, ""}}, Initialize},
		{"goodbye of another active", base, append(active[:2:2], step{1400 * ms, adv(0, 100*ms), "send100 timer@1.5s announce"}), Active},
		{"higher priority", base, append(active[:2:2], step{1400 * ms, adv(101, 100*ms), "send0 BACKUP timer@1.7609375s"}), Backup},
		{"higher priority, slower", base, append(active[:2:2], step{1400 * ms, adv(101, time.Second), "send0 BACKUP timer@5.009375s"}), Backup},
		{"equal priority, greater address", base, append(active[:2:2], step{1400 * ms, adv(100, 100*ms), "send0 BACKUP timer@1.7609375s"}), Backup},
		{"equal priority, smaller address", base, append(active[:2:2],
			step{1400 * ms, heard(100, 100*ms, 0, "10.0.0.1", "10.0.0.2"), "send100 announce"}), Active},
		{"lower priority: asserted once an interval", base, append(active[:2:2], step{1400 * ms, adv(99, 100*ms), "send100 announce"},
			step{1401 * ms, adv(99, 100*ms), ""}), Active},
		{"without preempt an active yields all the same", noPreempt, append(active[:2:2], step{1400 * ms, adv(101, 100*ms), "send0 BACKUP timer@1.7609375s"}), Backup},
		{"the owner yields to nobody lower", with(func(c *MachineConfig) { c.Priority = 255 }),
			[]step{{t0, Startup{}, "ACTIVE send255 announce timer@1.1s"}, {1050 * ms, adv(254, 100*ms), "send255 announce"}}, Active},
		// beyond the RFC
		{"split brain is reported once and healed", base, append(active[:2:2],
			step{1460937500, Tick{}, "send100 timer@1.5609375s"},
			step{1500 * ms, adv(50, 100*ms), "report:split-brain send100 announce"},
			step{1560937500, Tick{}, "send100 timer@1.6609375s"},
			step{1600 * ms, adv(50, 100*ms), "send100 announce"},
			step{1660937500, Tick{}, "send100 timer@1.7609375s"},
			step{1760937500, Tick{}, "send100 timer@1.8609375s"},
			step{1860937500, Tick{}, "send100 timer@1.9609375s"},
			step{1961 * ms, Tick{}, "send100 report:split-healed timer@2.061s"}), Active},
		{"preempt delay", with(func(c *MachineConfig) { c.PreemptDelay = 250 * ms }), []step{toBackup,
			{1100 * ms, adv(50, 100*ms), "report:preempt-held timer@1.4609375s"},
			{1200 * ms, adv(50, 100*ms), "timer@1.5609375s"},
			{1300 * ms, adv(50, 100*ms), "timer@1.6609375s"},
			{1350 * ms, adv(50, 100*ms), ""},
			{1660937500, Tick{}, "ACTIVE send100 announce timer@1.7609375s"}}, Active},
		{"wait for synchronisation", with(func(c *MachineConfig) { c.WaitForSync = true }), []step{toBackup,
			{1100 * ms, adv(50, 100*ms), "report:preempt-held timer@1.4609375s"},
			{1150 * ms, SyncReady{true}, ""},
			{1200 * ms, adv(50, 100*ms), ""}}, Backup},
		{"wait for synchronisation, bounded", with(func(c *MachineConfig) { c.WaitForSync = true; c.SyncTimeout = 150 * ms }), []step{toBackup,
			{1100 * ms, adv(50, 100*ms), "report:preempt-held timer@1.4609375s"},
			{1200 * ms, adv(50, 100*ms), "timer@1.5609375s"},
			{1300 * ms, adv(50, 100*ms), "report:sync-timeout"},
			{1400 * ms, adv(50, 100*ms), ""}}, Backup},
		{"unsynchronised, but nobody else is there", with(func(c *MachineConfig) { c.WaitForSync = true }), active, Active},
		{"an active that stood still listens", base, append(active[:2:2],
			step{3000 * ms, Tick{}, "report:clock-stall BACKUP timer@3.3609375s"},
			step{3100 * ms, adv(50, 100*ms), "report:preempt-held timer@3.4609375s"},
			step{3400 * ms, adv(50, 100*ms), ""}), Backup},
		{"an active that stood still and hears nobody", base, append(active[:2:2],
			step{3000 * ms, Tick{}, "report:clock-stall BACKUP timer@3.3609375s"},
			step{3360937500, Tick{}, "ACTIVE send100 announce timer@3.4609375s"}), Active},
		{"late, but not too late", base, append(active[:2:2], step{1721 * ms, Tick{}, "send100 timer@1.821s"}), Active},
		{"too late by a little", base, append(active[:2:2], step{1722 * ms, Tick{}, "report:clock-stall BACKUP timer@2.0829375s"}), Backup},
		{"a backup that stood still listens", base, []step{toBackup, {5 * time.Second, Tick{}, "report:clock-stall timer@5.3609375s"}}, Backup},
		{"a fault gives the role away", base, append(active[:2:2],
			step{1400 * ms, Track{Fault: "eth0 down"}, "send0 timer@1.5s"},
			step{1450 * ms, adv(50, 100*ms), "BACKUP timer@1.8109375s"},
			step{1810937500, Tick{}, "timer@2.171875s"},
			step{1900 * ms, Track{}, "timer@2.2609375s"}), Backup},
		{"a fault that nobody covers", base, append(active[:2:2],
			step{1400 * ms, Track{Fault: "x"}, "send0 timer@1.5s"},
			step{1500 * ms, Tick{}, "send0 timer@1.6s"}, step{1600 * ms, Tick{}, "send0 timer@1.7s"},
			step{1700 * ms, Tick{}, "send0 timer@1.8s"}, step{1800 * ms, Tick{}, "send0 timer@1.85s"},
			step{1850 * ms, Tick{}, "BACKUP timer@2.2109375s"}), Backup},
		{"a fault that goes at once", base, append(active[:2:2],
			step{1400 * ms, Track{Fault: "x"}, "send0 timer@1.5s"},
			step{1410 * ms, Track{}, "send100 timer@1.51s"}), Active},
		{"tracking lowers the priority", base, append(active[:2:2],
			step{1400 * ms, Track{Delta: -60}, "report:priority"},
			step{1460937500, Tick{}, "send40 timer@1.5609375s"},
			step{1500 * ms, adv(50, 100*ms), "send0 BACKUP timer@1.884375s"}), Backup},
		{"tracking stays within 1 and 254", base, append(active[:2:2],
			step{1400 * ms, Track{Delta: -600}, "report:priority"}, step{1460937500, Tick{}, "send1 timer@1.5609375s"},
			step{1470 * ms, Track{Delta: 600}, "report:priority"}, step{1560937500, Tick{}, "send254 timer@1.6609375s"}), Active},
		{"release", base, append(active[:2:2],
			step{1400 * ms, Release{}, "send0 timer@1.5s report:priority"},
			step{1450 * ms, adv(50, 100*ms), "BACKUP timer@1.849609375s"},
			step{1500 * ms, adv(50, 100*ms), "timer@1.899609375s"}), Backup},
		{"release without a taker", base, append(active[:2:2],
			step{1400 * ms, Release{}, "send0 timer@1.5s report:priority"},
			step{1500 * ms, Tick{}, "send0 timer@1.6s"}, step{1600 * ms, Tick{}, "send0 timer@1.7s"},
			step{1700 * ms, Tick{}, "send0 timer@1.8s"}, step{1800 * ms, Tick{}, "send0 timer@1.85s"},
			step{1850 * ms, Tick{}, "report:nobody-took-it send1 timer@1.95s"}), Active},
		{"takeover", base, []step{toBackup, {1100 * ms, adv(200, 100*ms), "timer@1.4609375s"},
			{1150 * ms, Takeover{}, "ACTIVE send201 announce timer@1.25s report:priority"},
			{1200 * ms, adv(200, 100*ms), "send201 announce"}}, Active},
		{"takeover against the greatest", base, []step{toBackup, {1100 * ms, adv(254, 100*ms), "timer@1.4609375s"},
			{1150 * ms, Takeover{}, "report:takeover-failed"}}, Backup},
		{"takeover by the higher one that does not preempt", noPreempt, []step{toBackup, {1100 * ms, adv(50, 100*ms), "timer@1.4609375s"},
			{1150 * ms, Takeover{}, "ACTIVE send100 announce timer@1.25s"}}, Active},
		{"leave", base, append(active[:2:2], step{1400 * ms, Leave{}, "send0 timer@1.5s"},
			step{1450 * ms, adv(50, 100*ms), "BACKUP timer@1.8109375s timer@0s left"}), Initialize},
		{"leave with nobody there", base, append(active[:2:2], step{1400 * ms, Leave{}, "send0 timer@1.5s"},
			step{1500 * ms, Tick{}, "send0 timer@1.6s"}, step{1600 * ms, Tick{}, "send0 timer@1.7s"},
			step{1700 * ms, Tick{}, "send0 timer@1.8s"}, step{1800 * ms, Tick{}, "send0 timer@1.85s"}, step{1850 * ms, Tick{}, "BACKUP timer@2.2109375s timer@0s left"}), Initialize},
		{"leave as backup", base, []step{toBackup, {1100 * ms, Leave{}, "left"}}, Backup},
		{"foreign announcement", base, append(active[:2:2], step{1400 * ms, ForeignAnnounce{addr("10.0.0.9"), "x"}, "report:foreign-vip send100 announce"}), Active},
		{"foreign announcement seen by a backup", base, []step{toBackup, {1100 * ms, ForeignAnnounce{addr("10.0.0.9"), "x"}, ""}}, Backup},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := NewMachine(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range tt.steps {
				if got := show(m.Step(s.at, s.ev)); got != s.want {
					t.Fatalf("step %d, %T at %v:\n got %q\nwant %q", i, s.ev, s.at, got, s.want)
				}
			}
			if got, _ := m.State(); got != tt.end {
				t.Errorf("ends as %v, want %v", got, tt.end)
			}
		})
	}
}

// On the client network A's address is the greater, on the server network B's:
// only the first path decides, so that they never both yield or both stay.
func TestTieOnTwoNetworks(t *testing.T) {
	m, _ := NewMachine(MachineConfig{Priority: 100, Interval: 100 * ms, Preempt: true})
	m.Step(t0, Startup{})
	m.Step(1360937500, Tick{})
	m.Step(1400*ms, heard(100, 100*ms, 0, "10.0.0.1", "10.0.0.2"))
	if got := show(m.Step(1401*ms, heard(100, 100*ms, 1, "10.1.0.2", "10.1.0.1"))); got != "" {
		t.Errorf("the second path decided: %s", got)
	}
	r := heard(100, 100*ms, 1, "10.1.0.2", "10.1.0.1")
	m.cfg.Node, r.Node = addr("10.0.0.2"), addr("10.0.0.1")
	m.assertedAt = 0
	if got := show(m.Step(1402*ms, r)); got != "send100 announce" {
		t.Errorf("canonical addresses did not decide: %s", got)
	}
}

func TestMachineConfig(t *testing.T) {
	for _, c := range []MachineConfig{
		{Priority: 0, Interval: time.Second}, {Priority: 1}, {Priority: 1, Interval: 15 * ms}, {Priority: 1, Interval: 41 * time.Second},
		{Priority: 1, Interval: time.Second, PreemptDelay: -1},
	} {
		if _, err := NewMachine(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
