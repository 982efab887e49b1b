package e2e

import (
	"fmt"
	"testing"

	"github.com/svm-cluster/svm/bench/farm"
)

// The virtual addresses of the shared farm, by their order.
const (
	webVIP     = iota // web (wlc, checked), and UDP echo
	rrVIP             // web, rr
	stickyVIP         // web, persistent
	packetVIP         // UDP echo, every packet scheduled by itself
	thriftyVIP        // web, at most two connections a server
	guestVIP          // not in the cluster file, but for reload tests
)

const echoPort = 7

// sharedCluster is what most tests need.
func sharedCluster(r *rig) farm.Cluster {
	c := farm.Cluster{
		Forwarding: "timeouts: {fin_wait: 2s, close: 1s}",
		Services:   r.WebServices("wlc"),
	}
	for _, fam := range farm.Both() {
		add := func(name string, vip int, s farm.Service) {
			s.Name, s.VIP = fmt.Sprintf("%s%d", name, int(fam)), r.MoreVIP(fam, vip)
			if s.Scheduler == "" {
				s.Scheduler = "rr"
			}
			c.Services = append(c.Services, s)
		}
		add("echo", webVIP, farm.Service{Protocol: "udp", Port: echoPort})
		add("rr", rrVIP, farm.Service{})
		add("sticky", stickyVIP, farm.Service{More: []string{"persistence: {timeout: 60s}"}})
		add("packet", packetVIP, farm.Service{Protocol: "udp", Port: echoPort, More: []string{"one_packet: true"}})
		thrifty := farm.Service{}
		for _, n := range r.EPS {
			thrifty.Servers = append(thrifty.Servers, n.Name()+", upper: 2, lower: 1")
		}
		add("thrifty", thriftyVIP, thrifty)
	}
	return c
}

// TestFarm tries the farm of Figure 2. All its parts share one farm, and leave it
// as they found it.
func TestFarm(t *testing.T) {
	r := newRig(t, farm.Topologies()[0], 3, sharedCluster)
	r.echoServers(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *rig)
		long bool // not with -short
	}{
		{name: "bulk", run: testBulk},
		{name: "datagrams", run: testDatagrams},
		{name: "path mtu", run: testPathMTU},
		{name: "frames", run: testFrames},
		{name: "faults", run: testFaults},
		{name: "guard", run: testGuard},
		{name: "persistence", run: testPersistence},
		{name: "one packet", run: testOnePacket},
		{name: "thresholds", run: testThresholds},
		{name: "reload", run: testReload},
		{name: "switched off", run: testSwitchedOff, long: true},
		{name: "new mac", run: testNewMAC, long: true},
		{name: "leak", run: testLeak},
		{name: "crash", run: testCrash},
		{name: "random frames", run: testRandomFrames},
		{name: "syn flood", run: testFlood, long: true},
	} {
		t.Run(part.name, func(t *testing.T) {
			if part.long && testing.Short() {
				t.Skip("long")
			}
			part.run(t, r)
		})
	}
	r.finish(t)
}
