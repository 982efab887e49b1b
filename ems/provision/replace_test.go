package provision

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/machine"
)

// A real server with an empty disk is known by its MAC address; without a station it
// gets its address, its part of the configuration, and later ones.
func TestReplaced(t *testing.T) {
	f := newFarm(t)
	f.station.director(t, f.store(f.eds1), "eds1", 7, true)
	f.active(f.eds1, f.eds2)
	f.director(f.eds1)
	f.serves(f.eds1, "on eth1")
	begin := time.Now()
	f.agent(f.eps1, "debian")
	f.settled(f.eps1, 7)
	t.Logf("from an empty disk to generation 7 in %v", time.Since(begin).Round(time.Millisecond))
	text, err := os.ReadFile(f.path(f.eps1, "root/etc/svm/cluster.yaml"))
	check(t, err)
	if !strings.Contains(string(text), "eps1") || strings.Contains(string(text), "eps2") {
		t.Errorf("not eps1's part:\n%s", text)
	}
	f.await("the address stays", func() bool {
		all, forever := addresses(t, f.eps1)
		return forever && len(all) == 1 && all[0] == "192.168.2.11/24"
	})
	if via := defaultRoute(t, f.eps1); via.String() != "192.168.2.254" {
		t.Errorf("default route by %v", via)
	}
	// A newer one on the director follows by itself.
	f.station.director(t, f.store(f.eds1), "eds1", 8, true)
	f.settled(f.eps1, 8)
}

// Where the cluster file has no MAC address, the host name counts.
func TestReplacedByName(t *testing.T) {
	f := newFarm(t)
	f.station.director(t, f.store(f.eds1), "eds1", 7, true)
	f.active(f.eds1, f.eds2)
	f.director(f.eds1)
	f.agent(f.eps2, "eps2")
	f.settled(f.eps2, 7)
	if all, _ := addresses(t, f.eps2); len(all) != 1 || all[0] != "192.168.2.12/24" {
		t.Errorf("addresses %v", all)
	}
}

// The role moves: the old one says no more, the new one gives the same address.
func TestRoleMoves(t *testing.T) {
	f := newFarm(t)
	for _, d := range []string{"eds1", "eds2"} {
		n := f.eds1
		if d == "eds2" {
			n = f.eds2
		}
		f.station.director(t, f.store(n), d, 7, true)
	}
	f.active(f.eds2, f.eds1)
	f.director(f.eds1)
	f.director(f.eds2)
	f.serves(f.eds1, "off: this director isn't active")
	f.serves(f.eds2, "on eth1")
	wire := f.eds1.Capture("eth1")
	f.agent(f.eps2, "eps2")
	f.settled(f.eps2, 7)
	f.active(f.eds1, f.eds2)
	f.serves(f.eds1, "on eth1")
	f.serves(f.eds2, "off: this director isn't active")
	if n := len(wire.Select(isDHCPAnswer)); n != 0 {
		t.Errorf("the backup answered %d times", n)
	}
	f.agent(f.eps1, "")
	f.settled(f.eps1, 7)
	if len(wire.Select(isDHCPAnswer)) == 0 {
		t.Error("the new active one answered nothing")
	}
	if s := f.status(f.eds2); s.Counts[DHCPAcknowledged] != 1 {
		t.Errorf("eds2 acknowledged %d", s.Counts[DHCPAcknowledged])
	}
}

// An agent that ends before anything is confirmed takes away what it set.
func TestAgentUndoes(t *testing.T) {
	f := newFarm(t)
	f.active(f.eds1, f.eds2)
	f.director(f.eds1) // it has a cluster file, but no generation
	agent := f.agent(f.eps1, "")
	f.await("an address", func() bool {
		all, forever := addresses(t, f.eps1)
		return len(all) == 1 && !forever && defaultRoute(t, f.eps1) != nil
	})
	check(t, agent.Stop(10*time.Second))
	if all, _ := addresses(t, f.eps1); len(all) != 0 {
		t.Errorf("left behind: %v", all)
	}
	if via := defaultRoute(t, f.eps1); via != nil {
		t.Errorf("left behind: a route by %v", via)
	}
	f.await("the release", func() bool { return f.status(f.eds1).Counts[DHCPReleased] == 1 })
}

// A director that was off during a push takes it from the other one, over the server
// network, and then gives real servers what it took.
func TestDirectorCatchesUp(t *testing.T) {
	f := newFarm(t)
	f.station.director(t, f.store(f.eds1), "eds1", 8, true)
	f.station.director(t, f.store(f.eds2), "eds2", 7, true)
	one := f.director(f.eds1)
	f.director(f.eds2, netip.MustParseAddrPort("192.168.2.2:8485"))
	f.settled(f.eds2, 8)
	check(t, one.Stop(10*time.Second))
	f.active(f.eds2, f.eds1)
	f.agent(f.eps1, "")
	f.settled(f.eps1, 8)
}

// A configured server that nothing gave its address gets it from its own
// configuration, with no director there; not while another machine has it.
func TestConfiguredWithoutAddress(t *testing.T) {
	f := newFarm(t)
	f.station.server(t, f.store(f.eps1), "eps1", 7, machine.Settled)
	f.stranger.Addr("eth0", "192.168.2.11/24")
	agent := f.agent(f.eps1, "")
	f.await("the conflict is said", func() bool {
		return strings.Contains(agent.Log(), "is in use by "+f.stranger.MAC("eth0").String())
	})
	if all, _ := addresses(t, f.eps1); len(all) != 0 {
		t.Errorf("it took %v all the same", all)
	}
	f.stranger.AddrDel("eth0", "192.168.2.11/24")
	f.await("its address", func() bool {
		all, forever := addresses(t, f.eps1)
		return forever && len(all) == 1 && all[0] == "192.168.2.11/24"
	})
	if via := defaultRoute(t, f.eps1); via.String() != "192.168.2.254" {
		t.Errorf("default route by %v", via)
	}
	check(t, agent.Stop(10*time.Second))
	if all, _ := addresses(t, f.eps1); len(all) != 1 {
		t.Errorf("after the agent's end: %v; the address is the configuration's", all)
	}
}

// A killed agent's lease is taken up by the next one: the address becomes lasting.
func TestAgentKilled(t *testing.T) {
	f := newFarm(t)
	f.active(f.eds1, f.eds2)
	f.director(f.eds1)
	agent := f.agent(f.eps1, "")
	f.await("an address", func() bool {
		all, _ := addresses(t, f.eps1)
		return len(all) == 1
	})
	agent.Kill()
	f.station.director(t, f.store(f.eds1), "eds1", 7, true)
	f.agent(f.eps1, "")
	f.settled(f.eps1, 7)
	f.await("the address stays", func() bool {
		all, forever := addresses(t, f.eps1)
		return forever && len(all) == 1
	})
}
