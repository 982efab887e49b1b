package e2e

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/control"
)

// testSwitchedOff takes a server off the network: its check notices, requests go
// to the others, and it comes back by itself.
func testSwitchedOff(t *testing.T, r *rig) {
	n := r.EPS[1]
	n.LinkDown("eth0")
	state := func(want func(string) bool) func(*control.Status) bool {
		return func(s *control.Status) bool {
			return want(server(s, "web4", n.Name()).State) && want(server(s, "web6", n.Name()).State)
		}
	}
	r.await(t, n.Name()+" is taken out", state(func(s string) bool { return s == "down" || s == "unresolved" }))
	each(t, func(t *testing.T, fam farm.Family) {
		c := r.Caller(fam)
		for range 30 {
			_, server, err := c.Page(t.Context(), "/")
			if err != nil {
				t.Error(err)
			}
			if server == n.Name() {
				t.Errorf("%s answered, which is off", server)
			}
		}
	})
	r.switchOn(t, 1)
	r.ready(t)
	each(t, func(t *testing.T, fam farm.Family) {
		c := r.Caller(fam)
		if err := farm.Await(within(t), func() bool {
			_, server, err := c.Page(t.Context(), "/")
			if err != nil {
				t.Error(err)
			}
			return server == n.Name()
		}); err != nil {
			t.Errorf("%s gets nothing again", n.Name())
		}
	})
}

// switchOn gives a server back what went with its device.
func (r *rig) switchOn(t *testing.T, i int) {
	t.Helper()
	n := r.EPS[i]
	n.LinkUp("eth0")
	n.Addr("eth0", r.ServerNet.Host([]farm.Family{6}, farm.ServerHost+i)...)
	for _, fam := range farm.Both() {
		n.Route("default", r.ServerNet.Addr(fam, farm.Router2Host))
	}
}

// testNewMAC changes a server's hardware address, with and without a word to the
// others: its open connections go on.
func testNewMAC(t *testing.T, r *rig) {
	n := r.EPS[0]
	old := n.MAC("eth0")
	var open []*held
	for _, h := range r.holdEach(t, 3, rrVIP) {
		if h.server == n.Name() {
			open = append(open, h)
		}
	}
	if len(open) < 2 {
		t.Fatalf("%d connections are on %s, want one of each family", len(open), n.Name())
	}
	fresh := net.HardwareAddr{0x02, 0x53, 0x56, 0x77, 0x77, 0x77}
	known := func(mac net.HardwareAddr) func(*control.Status) bool {
		return func(s *control.Status) bool {
			return server(s, "rr4", n.Name()).MAC == mac.String() && server(s, "rr6", n.Name()).MAC == mac.String()
		}
	}
	t.Run("told", func(t *testing.T) {
		n.SetMAC("eth0", fresh)
		r.tell(t, n, fresh)
		r.await(t, "the director knows the new address", known(fresh))
		askAll(t, "after the new address was told", open)
	})
	t.Run("untold", func(t *testing.T) {
		n.SetMAC("eth0", old)
		askAll(t, "while the change is noticed", open)
		r.await(t, "the director knows the old address", known(old))
		// Its kernel has to know as well, for the checks: by itself it takes most of
		// a minute.
		if err := farm.Await(within(t), func() bool {
			return kernelKnows(t, r.director, r.ServerNet.Addr(4, farm.ServerHost), old) &&
				kernelKnows(t, r.director, r.ServerNet.Addr(6, farm.ServerHost), old)
		}); err != nil {
			t.Error("the director's kernel goes by another address")
		}
	})
	r.ready(t)
}

// kernelKnows tells whether a node's kernel would send to that address for a host.
func kernelKnows(t *testing.T, n *netlab.Node, host string, mac net.HardwareAddr) (knows bool) {
	t.Helper()
	index := n.Index("eth1")
	if err := n.Do(func() error {
		list, err := netlink.NeighList(index, netlink.FAMILY_ALL)
		for _, e := range list {
			knows = knows || e.IP.String() == host && bytes.Equal(e.HardwareAddr, mac)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return knows
}

// tell sends gratuitous ARP and an unsolicited advertisement, as a host does whose
// hardware address changed.
func (r *rig) tell(t *testing.T, n *netlab.Node, mac net.HardwareAddr) {
	t.Helper()
	own4, own6 := net.ParseIP(r.ServerNet.Addr(4, farm.ServerHost)).To4(), net.ParseIP(r.ServerNet.Addr(6, farm.ServerHost))
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	m := &maker{t: t, fam: 4, eth: layers.Ethernet{SrcMAC: mac, DstMAC: all, EthernetType: layers.EthernetTypeARP}}
	arp := m.frame(&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: own4, DstHwAddress: make([]byte, 6), DstProtAddress: own4})
	m = &maker{t: t, fam: 6, src: own6, dst: net.ParseIP("ff02::1"),
		eth: layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}}
	ip := m.ip6(layers.IPProtocolICMPv6)
	ip.HopLimit = 255
	na := m.frame(ip, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)},
		&layers.ICMPv6NeighborAdvertisement{Flags: 0x20, TargetAddress: own6,
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}}})
	for _, f := range [][]byte{arp, na} {
		if err := n.Send("eth0", f); err != nil {
			t.Fatal(err)
		}
	}
}

// testLeak puts a VIP where it does not belong, on a server's network device
// without svm-rs's settings. The director tells who it is.
func testLeak(t *testing.T, r *rig) {
	n := r.EPS[2]
	for _, key := range []string{"net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.eth0.arp_ignore", "net.ipv4.conf.all.arp_announce", "net.ipv4.conf.eth0.arp_announce"} {
		was := n.SysctlGet(key)
		n.Sysctl(key, "0")
		defer n.Sysctl(key, was)
	}
	each(t, func(t *testing.T, fam farm.Family) {
		vip := r.MoreVIP(fam, rrVIP)
		bits := map[farm.Family]string{4: "/32", 6: "/128"}[fam]
		n.Addr("eth0", vip+bits)
		defer n.AddrDel("eth0", vip+bits)
		c := r.caller(fam, rrVIP)
		r.await(t, "the conflict shows", func(s *control.Status) bool {
			forget(t, n)
			if _, _, err := c.Page(t.Context(), "/"); err != nil {
				t.Error(err)
			}
			for _, f := range s.Conflicts {
				if f.VIP == vip && f.MAC == n.MAC("eth0").String() && f.Device == "eth1" {
					return true
				}
			}
			return false
		})
		text, err := r.Forward(t.Context(), 0, "status")
		if want := fmt.Sprintf("CONFLICT: %s also answers for %s on eth1", n.MAC("eth0"), vip); err != nil || !strings.Contains(text, want) {
			t.Errorf("svm-fwd status: %v; no %q in\n%s", err, want, text)
		}
	})
}

// forget empties a node's neighbour tables, so that it has to ask again.
func forget(t *testing.T, n *netlab.Node) {
	t.Helper()
	index := n.Index("eth0")
	if err := n.Do(func() error {
		for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			list, err := netlink.NeighList(index, fam)
			if err != nil {
				return err
			}
			for _, e := range list {
				_ = netlink.NeighDel(&e) // gone meanwhile, or a group's
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
