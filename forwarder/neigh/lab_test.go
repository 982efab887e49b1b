package neigh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) { netlab.Main(m) }

const soon = 10 * time.Second // a deadline, not an expectation

// farm is a client, two directors and a real server. The agents run fast.
type farm struct {
	t         *testing.T
	lab       *netlab.Lab
	cl, sv    *netlab.Switch
	peer, eps *netlab.Node
	ds        [2]*netlab.Node
}

func newFarm(t *testing.T) *farm {
	lab := netlab.New(t)
	f := &farm{t: t, lab: lab, cl: lab.Switch("cl"), sv: lab.Switch("sv"), peer: lab.Node("client"), eps: lab.Node("eps1")}
	f.cl.Attach(f.peer, "eth0", "192.0.2.9/24", "2001:db8::9/64")
	f.sv.Attach(f.eps, "eth0", eps4.String()+"/24", eps6.String()+"/64")
	for i := range f.ds {
		f.ds[i] = lab.Node(fmt.Sprint("eds", i+1))
		f.cl.Attach(f.ds[i], "eth0")
		f.sv.Attach(f.ds[i], "eth1", fmt.Sprintf("198.51.100.%d/24", i+2), fmt.Sprintf("2001:db8:1::%d/64", i+2))
	}
	return f
}

// start runs an agent on a director until the test ends.
func (f *farm) start(i int, change ...func(*Config)) *Agent {
	f.t.Helper()
	n := f.ds[i]
	cfg := Config{
		Client: Interface{Device: "eth0", Index: n.Index("eth0"), MAC: mac(n, "eth0")},
		Server: Interface{Device: "eth1", Index: n.Index("eth1"), MAC: mac(n, "eth1"),
			Addrs: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i+2)), netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", i+2))}},
		Log:   slog.New(slog.NewTextHandler(f.t.Output(), nil)),
		Probe: 200 * time.Millisecond, Hold: 500 * time.Millisecond,
	}
	for _, c := range change {
		c(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Do(func() error { return a.Run(ctx) }) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("Run: %v", err)
		}
	})
	return a
}

func mac(n *netlab.Node, dev string) [6]byte { return [6]byte(n.MAC(dev)) }

// cached returns what the client's kernel believes of an address.
func (f *farm) cached(ip netip.Addr) (got [6]byte) {
	err := f.peer.Do(func() error {
		list, err := netlink.NeighList(f.peer.Index("eth0"), netlink.FAMILY_ALL)
		for _, n := range list {
			if a, _ := netip.AddrFromSlice(n.IP); a.Unmap() == ip && len(n.HardwareAddr) == 6 {
				got = [6]byte(n.HardwareAddr)
			}
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return got
}

// nudge makes the client's kernel look for an address.
func (f *farm) nudge(ip netip.Addr) {
	c, err := f.peer.Dial(context.Background(), "udp", netip.AddrPortFrom(ip, 9).String())
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte{1})
}

func (f *farm) run(n *netlab.Node, name string, args ...string) string {
	f.t.Helper()
	out, err := n.Command(context.Background(), name, args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (f *farm) eventually(cond func() bool, msg string) {
	f.t.Helper()
	netlab.Eventually(f.t, soon, cond, msg)
}

var bothVIPs = []netip.Addr{vip4, vip6}

// A Linux client finds the VIPs, follows a takeover without asking, and finds
// nobody when no director is active.
func TestClientFindsAndFollows(t *testing.T) {
	f := newFarm(t)
	a, b := f.start(0), f.start(1)
	one, two := mac(f.ds[0], "eth0"), mac(f.ds[1], "eth0")
	a.SetVIPs(bothVIPs, one, true)
	b.SetVIPs(bothVIPs, two, false)
	for _, v := range bothVIPs {
		f.nudge(v)
		f.eventually(func() bool { return f.cached(v) == one }, v.String()+" was not found at the first director")
	}
	if out := f.run(f.peer, "arping", "-c", "3", "-w", "5", "-I", "eth0", vip4.String()); strings.Count(out, "reply from") != 3 ||
		strings.Count(strings.ToLower(out), macString(one)) != 3 {
		t.Errorf("arping says\n%s", out)
	}
	// A takeover: the client's table changes by the announcement alone.
	a.SetVIPs(bothVIPs, one, false)
	b.SetVIPs(bothVIPs, two, true)
	for _, v := range bothVIPs {
		f.eventually(func() bool { return f.cached(v) == two }, v.String()+" did not move to the second director")
	}
	b.SetVIPs(bothVIPs, two, false)
	f.run(f.peer, "ip", "neigh", "flush", "dev", "eth0")
	if err := f.peer.Command(context.Background(), "arping", "-c", "1", "-w", "1", "-I", "eth0", vip4.String()).Run(); err == nil {
		t.Error("arping was answered although no director is active")
	}
	for i, ag := range []*Agent{a, b} {
		if s := ag.Status(); s.Counters[Answered] == 0 && i == 0 || s.Counters[Announced] == 0 || s.Counters[SendFailed] != 0 || s.Counters[Overrun] != 0 {
			t.Errorf("director %d counted %v", i+1, s.Counters)
		}
	}
	if a.Status().Counters[Inactive] == 0 {
		t.Error("no question was counted while inactive")
	}
}

// With a virtual MAC address, and a client device without IPv6.
func TestVirtualMACAndNoIPv6(t *testing.T) {
	f := newFarm(t)
	f.ds[0].Sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")
	a := f.start(0)
	a.SetVIPs(bothVIPs, vipMAC, true)
	for _, v := range bothVIPs {
		f.eventually(func() bool { f.nudge(v); return f.cached(v) == vipMAC }, v.String()+" was not found at the virtual MAC address")
	}
	if s := a.Status(); s.VIPs[0].Conflicts+s.VIPs[1].Conflicts != 0 {
		t.Errorf("conflicts: %+v", s.VIPs)
	}
}

// The groups are joined while the agent runs, and left with the VIP.
func TestGroups(t *testing.T) {
	f := newFarm(t)
	member := func() bool {
		return strings.Contains(f.run(f.ds[0], "cat", "/proc/net/igmp6"), "ff0200000000000000000001ff000100")
	}
	report := f.peer.Capture("eth0")
	a := f.start(0)
	a.SetVIPs([]netip.Addr{vip6}, mac(f.ds[0], "eth0"), false)
	f.eventually(member, "the solicited-node group was not joined")
	group := nodeGroup(vip6).As16()
	report.Wait(t, soon, func(fr netlab.Frame) bool { // an MLDv2 report of it, for snooping switches
		return len(fr.Data) > 62 && fr.Data[12] == 0x86 && fr.Data[20] == 0 && fr.Data[62] == 143 && bytes.Contains(fr.Data[62:], group[:])
	}, "no MLD report")
	a.SetVIPs(nil, [6]byte{}, false)
	f.eventually(func() bool { return !member() }, "the solicited-node group was not left")
}

// known waits until the agent has the server at a MAC address, and returns how long that took.
func (f *farm) known(a *Agent, ip netip.Addr, want [6]byte) time.Duration {
	f.t.Helper()
	began := time.Now()
	f.eventually(func() bool { got, ok := a.Lookup(ip); return ok && got == want }, fmt.Sprintf("%v is not known at %s", ip, macString(want)))
	return time.Since(began)
}

func TestServerMoves(t *testing.T) {
	f := newFarm(t)
	a := f.start(0, func(c *Config) { c.Probe = time.Second }) // as in real life
	a.SetTargets([]netip.Addr{eps4, eps6})
	for _, ip := range []netip.Addr{eps4, eps6} {
		f.known(a, ip, mac(f.eps, "eth0"))
	}
	silent := [6]byte{2, 0xaa, 0, 0, 0, 1}
	f.eps.SetMAC("eth0", silent[:])
	t.Logf("without a word: noticed after %v by ARP", f.known(a, eps4, silent))
	t.Logf("and %v later by NDP", f.known(a, eps6, silent))

	loud := [6]byte{2, 0xaa, 0, 0, 0, 2}
	f.eps.Sysctl("net.ipv4.conf.eth0.arp_notify", "1")
	f.eps.Sysctl("net.ipv6.conf.eth0.ndisc_notify", "1")
	<-a.Changes()
	f.eps.SetMAC("eth0", loud[:])
	t.Logf("with gratuitous ARP: after %v", f.known(a, eps4, loud))
	t.Logf("with an unsolicited advertisement: %v later", f.known(a, eps6, loud))
	select {
	case <-a.Changes():
	case <-time.After(soon):
		t.Error("Changes said nothing")
	}
	for _, e := range a.Status().Targets {
		if e.Changes != 2 || e.State != Reachable {
			t.Errorf("entry %+v, want 2 changes", e)
		}
	}
}

func TestServerUnknownAndLost(t *testing.T) {
	f := newFarm(t)
	a := f.start(0)
	nobody := netip.MustParseAddr("198.51.100.77")
	a.SetTargets([]netip.Addr{eps4, eps6, nobody})
	f.known(a, eps4, mac(f.eps, "eth0"))
	f.known(a, eps6, mac(f.eps, "eth0"))
	if _, ok := a.Lookup(nobody); ok {
		t.Error("an absent server is known")
	}
	state := func(ip netip.Addr) State {
		for _, e := range a.Status().Targets {
			if e.Addr == ip {
				return e.State
			}
		}
		return 99
	}
	if s := state(nobody); s != Unknown {
		t.Errorf("an absent server is %v", s)
	}
	f.eps.LinkDown("eth0")
	for _, ip := range []netip.Addr{eps4, eps6} {
		f.eventually(func() bool { return state(ip) == Failed }, ip.String()+" was not reported as failed")
		if _, ok := a.Lookup(ip); ok {
			t.Errorf("%v is failed, yet Lookup has it", ip)
		}
	}
	f.eps.LinkUp("eth0")
	f.known(a, eps4, mac(f.eps, "eth0"))
}

// Without an address of the director on the server network.
func TestNoOwnAddress(t *testing.T) {
	f := newFarm(t)
	f.ds[0].AddrDel("eth1", "198.51.100.2/24")
	f.ds[0].AddrDel("eth1", "2001:db8:1::2/64")
	a := f.start(0, func(c *Config) { c.Server.Addrs = nil })
	a.SetTargets([]netip.Addr{eps4, eps6})
	f.known(a, eps4, mac(f.eps, "eth0"))
	f.known(a, eps6, mac(f.eps, "eth0"))
}

func TestConflictIsSeen(t *testing.T) {
	f := newFarm(t)
	a := f.start(0)
	a.SetVIPs(bothVIPs, mac(f.ds[0], "eth0"), true)
	f.eventually(func() bool { return a.Status().Counters[Announced] >= 3 }, "not announced")
	vip := func(ip netip.Addr) (v VIP) {
		for _, v = range a.Status().VIPs {
			if v.Addr == ip {
				break
			}
		}
		return v
	}
	// A rogue on the client network, which announces the addresses when its MAC address changes.
	rogue := f.lab.Node("rogue")
	f.cl.Attach(rogue, "eth0", vip4.String()+"/24", vip6.String()+"/64")
	rogue.Sysctl("net.ipv4.conf.eth0.arp_notify", "1")
	rogue.Sysctl("net.ipv6.conf.eth0.ndisc_notify", "1")
	evil := [6]byte{2, 0xbb, 0, 0, 0, 1}
	rogue.SetMAC("eth0", evil[:])
	for _, ip := range bothVIPs {
		f.eventually(func() bool { v := vip(ip); return v.Conflicts > 0 && v.Rival == evil && v.Device == "eth0" }, "no conflict seen for "+ip.String())
	}
	// A real server that holds the VIP but lets it leak: it asks in the VIP's name.
	f.eps.Addr("lo", vip4.String()+"/32")
	_ = f.eps.Command(context.Background(), "ping", "-c", "1", "-W", "0.1", "-I", vip4.String(), "198.51.100.200").Run()
	f.eventually(func() bool { v := vip(vip4); return v.Device == "eth1" && v.Rival == mac(f.eps, "eth0") }, "the leak was not seen")
}

// Tagged questions are not ours, even with the right MAC address.
func TestTaggedIsIgnored(t *testing.T) {
	f := newFarm(t)
	a := f.start(0)
	own := mac(f.ds[0], "eth0")
	a.SetVIPs(bothVIPs, own, true)
	f.eventually(func() bool { return a.Status().Counters[Announced] >= 3 }, "not announced")
	replies := f.peer.Capture("eth0")
	from := mac(f.peer, "eth0")
	plain := arpAsk(from, peer4, vip4)
	tagged := append(append(append([]byte(nil), plain[:12]...), 0x81, 0, 0, 7), plain[12:]...)
	other := append([]byte(nil), plain...)
	copy(other[28:32], []byte{192, 0, 2, 8}) // asked by another one, to tell the answers apart
	f.inject(f.peer, append([]byte(nil), tagged...), tagged, other)
	answer := func(ip string) func(netlab.Frame) bool {
		want := netip.MustParseAddr(ip).AsSlice()
		return func(fr netlab.Frame) bool {
			return !fr.Outgoing && len(fr.Data) >= 42 && fr.Data[13] == 6 && fr.Data[21] == 2 && bytes.Equal(fr.Data[38:42], want)
		}
	}
	replies.Wait(t, soon, answer("192.0.2.8"), "the untagged question was not answered")
	if n := len(replies.Select(answer("192.0.2.9"))); n != 0 {
		t.Errorf("%d tagged questions were answered", n)
	}
}

func (f *farm) inject(n *netlab.Node, frames ...[]byte) {
	f.t.Helper()
	err := n.Do(func() error {
		c, err := packet.Listen(&net.Interface{Index: n.Index("eth0")}, packet.Raw, 0, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		for _, b := range frames {
			if _, err := c.WriteTo(b, &packet.Addr{HardwareAddr: b[:6]}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// A device that goes down and comes back: the VIPs are announced again.
func TestDeviceFlaps(t *testing.T) {
	f := newFarm(t)
	a := f.start(0)
	f.ds[0].LinkDown("eth0")
	a.SetVIPs(bothVIPs, mac(f.ds[0], "eth0"), true)
	f.eventually(func() bool { return a.Status().Counters[SendFailed] > 0 }, "sending on a device that is down was not counted")
	f.ds[0].LinkUp("eth0")
	for _, v := range bothVIPs {
		f.eventually(func() bool { f.nudge(v); return f.cached(v) == mac(f.ds[0], "eth0") }, v.String()+" was not found after the device came back")
	}
}

// One device for both sides, as in a one-armed farm.
func TestOneDevice(t *testing.T) {
	f := newFarm(t)
	local := f.lab.Node("eps2")
	f.cl.Attach(local, "eth0", "192.0.2.11/24", "2001:db8::11/64")
	a := f.start(0, func(c *Config) {
		c.Server = c.Client
		c.Server.Addrs = nil
	})
	a.SetVIPs(bothVIPs, mac(f.ds[0], "eth0"), true)
	a.SetTargets([]netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")})
	for _, e := range a.Status().Targets {
		f.known(a, e.Addr, mac(local, "eth0"))
	}
	for _, v := range bothVIPs {
		f.nudge(v)
		f.eventually(func() bool { return f.cached(v) == mac(f.ds[0], "eth0") }, v.String()+" was not found")
	}
}

func TestRunErrors(t *testing.T) {
	f := newFarm(t)
	a, err := New(Config{
		Client: Interface{Device: "eth7", Index: 4711, MAC: clientMAC},
		Server: Interface{Device: "eth1", Index: f.ds[0].Index("eth1"), MAC: serverMAC},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = f.ds[0].Do(func() error { return a.Run(context.Background()) })
	if err == nil || !strings.Contains(err.Error(), "eth7") {
		t.Errorf("error is %v, want one that names eth7", err)
	}
	for _, c := range []Config{
		{}, {Client: Interface{Device: "eth0", Index: 1, MAC: clientMAC}, Server: Interface{Device: "eth1", Index: 2}},
		{Client: Interface{Device: "eth0", Index: 1, MAC: allMAC}, Server: Interface{Device: "eth1", Index: 2, MAC: serverMAC}},
		{Client: Interface{Device: "eth0", Index: 1, MAC: clientMAC}, Server: Interface{Device: "eth1", Index: 2, MAC: serverMAC}, Probe: -1},
	} {
		if _, err := New(c); err == nil || errors.Unwrap(err) != nil {
			t.Errorf("New(%+v): %v", c, err)
		}
	}
}
