package realserver

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestUndoIsExact(t *testing.T) {
	f := newFarm(t)
	// A host with a life of its own.
	f.lo("198.51.100.1/32")
	f.lo("2001:db8:ffff::1/128")
	f.eps.Sysctl("net.ipv4.conf.all.arp_announce", "1")
	f.eps.Sysctl("net.ipv4.conf.eth0.arp_ignore", "2")
	before := f.dump()

	if steps := f.apply(want); len(steps) == 0 {
		t.Fatal("nothing was done")
	}
	s := f.read()
	for _, p := range loopback(want.VIPs) {
		if !s.onLo(p) {
			t.Errorf("%s is not on lo", p)
		}
	}
	for key, value := range map[string]string{
		"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2",
		"net.ipv4.conf.eth0.arp_ignore": "2", "net.ipv4.conf.eth0.arp_announce": "2",
	} {
		if got := f.eps.SysctlGet(key); got != value {
			t.Errorf("%s = %s, want %s", key, got, value)
		}
	}
	st, err := os.Stat(f.file)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v; want mode 0600", st, err)
	}

	f.undo()
	same(t, before, f.dump())
	left, err := os.ReadDir(filepath.Dir(f.file))
	if err != nil || len(left) > 0 {
		t.Errorf("left beside the state file: %v, %v", left, err)
	}
	if steps := f.undo(); len(steps) != 0 {
		t.Errorf("a second undo does %v", steps)
	}
}

func TestApplyTwice(t *testing.T) {
	f := newFarm(t)
	f.apply(want)
	after := f.dump()
	state, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	if steps := f.apply(want); len(steps) != 0 {
		t.Errorf("a second apply does %v", steps)
	}
	same(t, after, f.dump())
	if again, _ := os.ReadFile(f.file); string(again) != string(state) {
		t.Errorf("state file changed from\n%s\nto\n%s", state, again)
	}
}

// The first originals count, whatever comes between.
func TestMoveToOtherVIPs(t *testing.T) {
	f := newFarm(t)
	f.lo(vip4b.String() + "/32") // was there: stays
	before := f.dump()
	f.apply(want)
	f.apply(Config{Device: "eth0", VIPs: []netip.Addr{vip4, vip4b, vip6b}})
	s := f.read()
	for p, there := range map[string]bool{
		"192.0.2.100/32": true, "192.0.2.101/32": true, "2001:db8::100/128": false, "2001:db8::101/128": true,
	} {
		if s.onLo(netip.MustParsePrefix(p)) != there {
			t.Errorf("%s on lo: %v, want %v", p, !there, there)
		}
	}
	f.apply(Config{Device: "eth0", VIPs: []netip.Addr{vip6b}}) // IPv6 only: ARP settings go back
	if got := f.eps.SysctlGet("net.ipv4.conf.all.arp_ignore"); got != "0" {
		t.Errorf("arp_ignore = %s without an IPv4 VIP, want 0", got)
	}
	if s := f.read(); s.onLo(netip.MustParsePrefix("192.0.2.100/32")) || !s.onLo(netip.MustParsePrefix("192.0.2.101/32")) {
		t.Error("want .100 gone and .101, which was there before, kept")
	}
	f.apply(want)
	f.undo()
	same(t, before, f.dump())
}

// What apply has taken away again is not its own any more.
func TestAddressOfBeforeIsForgotten(t *testing.T) {
	f := newFarm(t)
	f.apply(want)
	f.apply(Config{Device: "eth0", VIPs: []netip.Addr{vip4b}})
	f.lo(vip6.String() + "/128") // somebody else, for some reason
	f.undo()
	if s := f.read(); !s.onLo(netip.PrefixFrom(vip6, 128)) {
		t.Error("undo took away an address that somebody else had added")
	}
}

// A VIP that somebody had put on lo before is his to take away.
func TestAddressThatWasThereIsKept(t *testing.T) {
	f := newFarm(t)
	f.lo(vip4.String() + "/32")
	f.lo(vip6.String() + "/128")
	before := f.dump()
	f.apply(want)
	f.undo()
	same(t, before, f.dump())
}

// A setting that somebody changed after apply is his as well.
func TestLaterChangeIsKept(t *testing.T) {
	f := newFarm(t)
	f.apply(want)
	f.eps.Sysctl("net.ipv4.conf.eth0.arp_ignore", "2")
	if kept := Kept(f.read()); len(kept) != 1 {
		t.Errorf("kept: %q, want one", kept)
	}
	f.undo()
	if got := f.eps.SysctlGet("net.ipv4.conf.eth0.arp_ignore"); got != "2" {
		t.Errorf("arp_ignore = %s, want the 2 that was set after apply", got)
	}
}

// Whatever step a crash comes after, or fails, undo leads back and a further
// apply goes on.
func TestCrashAtEachStep(t *testing.T) {
	f := newFarm(t)
	before := f.dump()
	moved := Config{Device: "eth0", VIPs: []netip.Addr{vip4b, vip6}}
	for _, from := range []Config{{}, want} {
		target := want
		if len(from.VIPs) > 0 {
			target = moved
		}
		f.apply(from)
		steps := Plan(target, f.read())
		if len(steps) < 3 {
			t.Fatalf("only %d steps: %v", len(steps), steps)
		}
		for i := range len(steps) + 1 {
			broken := slices.Insert(slices.Clone(steps), i, Step{Kind: -1})
			if err := f.run(t.Context(), broken); err == nil {
				t.Fatal("an impossible step did not fail")
			}
			f.undo()
			same(t, before, f.dump())

			f.apply(from)
			_ = f.run(t.Context(), broken)
			f.apply(target)
			if again := Plan(target, f.read()); len(again) != 0 {
				t.Errorf("broken at %d, then applied, still to do: %v", i, again)
			}
			f.undo()
			same(t, before, f.dump())
			f.apply(from)
		}
		f.undo()
	}
}

func TestRunStopsWithContext(t *testing.T) {
	f := newFarm(t)
	before := f.dump()
	ctx, cancel := context.WithCancel(t.Context())
	steps := Plan(want, f.read())
	cancel()
	if err := f.run(ctx, steps); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	same(t, before, f.dump())
}

// A state file that outlived a reboot says nothing about the new kernel. A fresh
// namespace stands for it: nothing that was applied is there.
func TestReboot(t *testing.T) {
	f := newFarm(t)
	f.eps.Sysctl("net.ipv4.conf.all.arp_announce", "1")
	f.apply(want)
	f.eps = newFarm(t).eps
	before := f.dump()
	if !f.read().Stale {
		t.Fatal("the record of another boot is not seen as such")
	}

	f.undo()
	same(t, before, f.dump())
	if _, err := os.Stat(f.file); !os.IsNotExist(err) {
		t.Errorf("the stale state file is still there: %v", err)
	}

	f.apply(want)
	f.eps = newFarm(t).eps
	f.eps.Sysctl("net.ipv4.conf.all.arp_announce", "2") // set by sysctl.d this time
	before = f.dump()
	f.apply(want)
	if fs := Check(want, f.read()); len(fs) != 0 {
		t.Errorf("after the reboot: %v", fs)
	}
	f.undo()
	same(t, before, f.dump())
}

// A device that goes takes its settings along.
func TestDeviceGone(t *testing.T) {
	f := newFarm(t)
	f.apply(want)
	f.eps.LinkDel("eth0")
	f.undo()
	if s := f.read(); s.onLo(netip.MustParsePrefix("192.0.2.100/32")) || s.Sysctls["net/ipv4/conf/all/arp_ignore"] != "0" {
		t.Error("undo without the device left something")
	}
}

func TestNothingChangesWithoutRecord(t *testing.T) {
	f := newFarm(t)
	before := f.dump()
	f.file = "/proc/nowhere/realserver.json"
	err := f.eps.Do(func() error { _, err := Apply(t.Context(), want, f.file); return err })
	if err == nil {
		t.Error("apply works without a place for its record")
	}
	same(t, before, f.dump())

	f.file = filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(f.file, []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"apply": func() error { _, err := Apply(t.Context(), want, f.file); return err },
		"undo":  func() error { _, err := Undo(t.Context(), f.file); return err },
	} {
		if err := f.eps.Do(do); err == nil {
			t.Errorf("%s takes a broken state file", name)
		}
	}
	same(t, before, f.dump())
}

// What apply could not mend it refuses, before it changes anything.
func TestApplyRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*farm) Config{
		"no such device":    func(f *farm) Config { return Config{Device: "eth7", VIPs: want.VIPs} },
		"VIP on the device": func(f *farm) Config { f.eps.Addr("eth0", vip4.String()+"/32"); return want },
		"VIP as a network":  func(f *farm) Config { f.lo(vip4.String() + "/24"); return want },
		"lo is down":        func(f *farm) Config { f.eps.LinkDown("lo"); return want },
		"IPv6 is off on lo": func(f *farm) Config { f.eps.Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"); return want },
		"VIP is its own":    func(f *farm) Config { c := want; c.Addresses = want.VIPs[:1]; return c },
		"VIP is loopback":   func(f *farm) Config { return Config{Device: "eth0", VIPs: []netip.Addr{netip.MustParseAddr("::1")}} },
		"no device":         func(f *farm) Config { return Config{VIPs: want.VIPs} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t)
			c := spoil(f)
			before := f.dump()
			err := f.eps.Do(func() error { _, err := Apply(t.Context(), c, f.file); return err })
			if err == nil {
				t.Error("apply goes ahead")
			}
			t.Log(err)
			same(t, before, f.dump())
		})
	}
}
