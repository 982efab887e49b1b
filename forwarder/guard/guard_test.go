package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
)

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{Protocol: 2}, {RulePriority: 32764}, {RulePriority: -1}, {Table: 254}, {Table: 1<<31 - 10}, {Mark: 0x53560001}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]State{
		"no VIP":        {VIPs: []netip.Addr{{}}},
		"multicast VIP": {VIPs: []netip.Addr{netip.MustParseAddr("224.0.0.1")}},
		"two families":  {Paths: []Path{{vip4, eps6[0], 1, g.Mark(0)}}},
		"foreign mark":  {Paths: []Path{{vip4, eps4[0], 1, 1}}},
		"mark 0":        {Paths: []Path{{vip4, eps4[0], 1, 0}}},
		"no device":     {Paths: []Path{{vip4, eps4[0], 0, g.Mark(0)}}},
		"one mark for two servers": {Paths: []Path{
			{vip4, eps4[0], 1, g.Mark(0)}, {vip4, eps4[1], 1, g.Mark(0)}}},
	} {
		if _, err := g.plan(s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Each mark leads to its server, whatever the host thinks of reverse paths.
func TestPaths(t *testing.T) {
	f := newFarm(t)
	f.must(f.apply(f.state()))
	for _, rp := range []string{"0", "1", "2"} {
		for _, valid := range []string{"0", "1"} {
			for _, forward := range []string{"0", "1"} {
				f.ds.Sysctl("net.ipv4.conf.all.rp_filter", rp)
				f.ds.Sysctl("net.ipv4.conf.eth1.rp_filter", rp)
				f.ds.Sysctl("net.ipv4.conf.all.src_valid_mark", valid)
				f.ds.Sysctl("net.ipv4.ip_forward", forward)
				f.ds.Sysctl("net.ipv6.conf.all.forwarding", forward)
				for i := range f.eps {
					for _, vip := range []netip.Addr{vip4, vip6} {
						for _, network := range []string{"tcp", "udp"} {
							want := fmt.Sprint("eps", i+1)
							if got, err := f.who(network, vip, f.guard.Mark(i)); got != want {
								t.Errorf("rp_filter %s, src_valid_mark %s, forwarding %s: %s to %v by %s's mark: answered by %q (%v)",
									rp, valid, forward, network, vip, want, got, err)
							}
						}
					}
				}
			}
		}
	}
	for _, vip := range []netip.Addr{vip4, vip6} {
		if got, err := f.who("tcp", vip, 0); err == nil {
			t.Errorf("%v without a mark was answered by %q", vip, got)
		}
		if got, err := f.who("tcp", vip, f.guard.Mark(7)); err == nil {
			t.Errorf("%v by an unused mark was answered by %q", vip, got)
		}
	}
}

// A server that moves to another address, and one that leaves.
func TestDifference(t *testing.T) {
	f := newFarm(t)
	s := f.state()
	f.must(f.apply(s))
	if !strings.Contains(f.log.take(), "changed") {
		t.Error("the first Apply logged nothing")
	}
	before := f.rules()
	f.must(f.apply(s))
	if got := f.log.take(); got != "" || f.rules() != before {
		t.Errorf("the same Apply again changed something:\n%s\nbefore:\n%s\nafter:\n%s", got, before, f.rules())
	}
	moved := f.state()
	moved.Paths[0].Via, moved.Paths[1].Via = eps4[1], eps6[1] // mark 0 leads to the second server now
	f.must(f.apply(moved))
	for _, vip := range []netip.Addr{vip4, vip6} {
		if got, err := f.who("tcp", vip, f.guard.Mark(0)); got != "eps2" {
			t.Errorf("after the change %v is answered by %q (%v)", vip, got, err)
		}
	}
	s.Paths = s.Paths[:2]
	f.must(f.apply(s))
	if all := f.rules(); strings.Contains(all, "84002") || !strings.Contains(all, "84001") {
		t.Errorf("one server left, but there is\n%s", all)
	}
	s.VIPs, s.Paths = s.VIPs[:1], nil
	f.must(f.apply(s))
	all := f.rules()
	if strings.Count(all, "proto 84") != 1 || !strings.Contains(all, "blackhole 192.0.2.100 proto 84") {
		t.Errorf("one VIP left, but there is\n%s", all)
	}
	// A device that goes takes the routes along; the next Apply sets them again.
	f.must(f.apply(f.state()))
	f.ds.LinkDown("eth1")
	f.ds.LinkUp("eth1")
	f.ds.Addr("eth1", "2001:db8:1::2/64")
	netlab.Eventually(t, 5*time.Second, func() bool {
		if err := f.apply(f.state()); err != nil {
			return false
		}
		a, _ := f.who("tcp", vip4, f.guard.Mark(1))
		b, _ := f.who("tcp", vip6, f.guard.Mark(1))
		return a == "eps2" && b == "eps2"
	}, "no path after the device came back")
}

func TestUndo(t *testing.T) {
	f := newFarm(t)
	f.shell(`ip route add 203.0.113.0/24 via 198.51.100.254 proto static
		ip route add blackhole 192.0.2.101 && ip -6 route add unreachable 2001:db8::101
		ip rule add fwmark 0x53560001 priority 8400 table 999 && ip -6 rule add fwmark 9 table 999
		ip route add 192.0.2.100 via 198.51.100.7 table 999`)
	before := f.rules()
	f.must(f.apply(f.state()))
	if f.rules() == before {
		t.Fatal("Apply did nothing")
	}
	f.must(f.ds.Do(f.guard.Undo))
	if after := f.rules(); after != before {
		t.Errorf("before:\n%s\nafter Undo:\n%s", before, after)
	}
	f.must(f.ds.Do(f.guard.Undo)) // nothing to do is no error
}

// What a killed process left behind goes with the first Apply of the next one.
func TestLeftovers(t *testing.T) {
	f := newFarm(t)
	before := f.rules()
	exe, err := os.Executable()
	f.must(err)
	c := f.ds.Command(context.Background(), exe)
	c.Env = append(os.Environ(), "GUARD_TEST_CHILD="+strconv.Itoa(f.ds.Index("eth1")))
	f.must(c.Start())
	netlab.Eventually(t, 20*time.Second, func() bool { return strings.Contains(c.Log(), "applied") }, "the child did not apply its state")
	c.Kill()
	if all := f.rules(); !strings.Contains(all, "192.0.2.77 proto 84") || !strings.Contains(all, "lookup 90001") {
		t.Fatalf("the child left nothing behind:\n%s", all)
	}
	f.must(f.apply(State{VIPs: []netip.Addr{vip4}}))
	all := f.rules()
	if strings.Count(all, "proto 84") != 1 || strings.Contains(all, "9000") {
		t.Errorf("left over:\n%s", all)
	}
	f.must(f.ds.Do(f.guard.Undo))
	if after := f.rules(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// child applies a state with other numbers than the test's, and hangs.
func child() {
	index, _ := strconv.Atoi(os.Getenv("GUARD_TEST_CHILD"))
	g, err := New(Config{Table: 90000, RulePriority: 9000})
	if err == nil {
		err = g.Apply(State{
			VIPs: []netip.Addr{vip4, vip6, netip.MustParseAddr("192.0.2.77")},
			Paths: []Path{
				{vip4, eps4[0], index, g.Mark(0)}, {vip6, eps6[0], index, g.Mark(0)}, {vip4, eps4[1], index, g.Mark(1)},
			},
		})
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	fmt.Println("applied")
	select {}
}

// Each obstacle is named with the command that mends it, and the command does.
func TestObstacles(t *testing.T) {
	for _, c := range []struct{ name, make, want string }{
		{"address on lo", "ip addr add 192.0.2.100/32 dev lo", "ip address del 192.0.2.100/32 dev lo"},
		{"address on a device", "ip addr add 192.0.2.100/24 dev eth0", "ip address del 192.0.2.100/24 dev eth0"},
		{"IPv6 address", "ip addr add 2001:db8::100/128 dev lo", "ip address del 2001:db8::100/128 dev lo"},
		{"local route", "ip route add local 192.0.2.96/28 dev lo", "ip route del local 192.0.2.96/28 dev lo table local"},
		{"host route", "ip route add 192.0.2.100 via 198.51.100.7 proto static", "ip route del 192.0.2.100 via 198.51.100.7 dev eth1 table 254"},
		{"host route with a metric", "ip route add 192.0.2.100 dev eth0 metric 5", "ip route del 192.0.2.100 dev eth0 table 254 metric 5"},
		{"blackhole of another", "ip route add blackhole 192.0.2.100", "ip route del blackhole 192.0.2.100 table 254"},
		{"IPv6 host route", "ip -6 route add 2001:db8::100 via 2001:db8:1::7 metric 7", "ip -6 route del 2001:db8::100 via 2001:db8:1::7 dev eth1 table 254 metric 7"},
		{"IPv6 blackhole of another", "ip -6 route add blackhole 2001:db8::100", "ip -6 route del blackhole 2001:db8::100 table 254 metric 1024"},
		{"route in our table", "ip route add 192.0.2.100 dev eth0 table 84001", "ip route del 192.0.2.100 dev eth0 table 84001"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFarm(t)
			f.shell(c.make)
			before := f.rules()
			err := f.apply(f.state())
			if err == nil || !strings.HasSuffix(err.Error(), ": "+c.want) {
				t.Fatalf("error is\n%v\nwant it to end with\n%s", err, c.want)
			}
			// The other VIP is served, and nothing foreign was changed.
			if all := f.rules(); strings.Count(all, "blackhole") != strings.Count(before, "blackhole")+1 {
				t.Errorf("the other VIP has no blackhole:\n%s", all)
			}
			f.must(f.ds.Do(f.guard.Undo))
			if after := f.rules(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			f.shell(c.want)
			f.must(f.apply(f.state()))
		})
	}
	t.Run("broadcast address", func(t *testing.T) {
		f := newFarm(t)
		err := f.apply(State{VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.255")}})
		if err == nil || !strings.Contains(err.Error(), "broadcast") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestNoRight(t *testing.T) {
	f := newFarm(t)
	exe, err := os.Executable()
	f.must(err)
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("setpriv is not there")
	}
	c := f.ds.Command(context.Background(), "setpriv", "--bounding-set=-all", "--inh-caps=-all", exe)
	c.Env = append(os.Environ(), "GUARD_TEST_CHILD="+strconv.Itoa(f.ds.Index("eth1")))
	err = c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(c.Log(), "CAP_NET_ADMIN") {
		t.Errorf("error is %v, output:\n%s", err, c.Log())
	}
}
