package realserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const patience = 10 * time.Second

var (
	vip4, vip6   = netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")
	vip4b, vip6b = netip.MustParseAddr("192.0.2.101"), netip.MustParseAddr("2001:db8::101")
	own4, own6   = netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")
	peer4, peer6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	want         = Config{Device: "eth0", VIPs: []netip.Addr{vip4, vip6}}
)

// farm is a real server and a machine beside it on one switch.
type farm struct {
	t         *testing.T
	eps, peer *netlab.Node
	file      string
}

func newFarm(t *testing.T) *farm {
	lab := netlab.New(t)
	f := &farm{t: t, eps: lab.Node("eps1"), peer: lab.Node("peer"), file: filepath.Join(t.TempDir(), "svm", "realserver.json")}
	sw := lab.Switch("s")
	sw.Attach(f.eps, "eth0", own4.String()+"/24", own6.String()+"/64")
	sw.Attach(f.peer, "eth0", peer4.String()+"/24", peer6.String()+"/64")
	f.eps.Route("default", peer4.String())
	f.eps.Route("default", peer6.String())
	return f
}

// in calls a function inside the real server.
func in[T any](f *farm, call func() (T, error)) T {
	f.t.Helper()
	var v T
	err := f.eps.Do(func() (err error) { v, err = call(); return err })
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

func (f *farm) read() State {
	f.t.Helper()
	return in(f, func() (State, error) { return Read(f.t.Context(), f.file) })
}

func (f *farm) apply(want Config) []Step {
	f.t.Helper()
	return in(f, func() ([]Step, error) { return Apply(f.t.Context(), want, f.file) })
}

func (f *farm) undo() []Step {
	f.t.Helper()
	return in(f, func() ([]Step, error) { return Undo(f.t.Context(), f.file) })
}

// run takes steps and returns the error.
func (f *farm) run(ctx context.Context, steps []Step) error {
	return f.eps.Do(func() error {
		unlock, err := lock(f.file)
		if err != nil {
			return err
		}
		defer unlock()
		return Run(ctx, f.file, steps)
	})
}

// lo puts an address on lo as an administrator would, plainly.
func (f *farm) lo(addr string) {
	f.t.Helper()
	f.eps.Addr("lo", addr)
	if err := f.eps.Do(func() error { return awaitLocal(f.t.Context(), netip.MustParsePrefix(addr).Addr()) }); err != nil {
		f.t.Fatal(err)
	}
}

// dump is everything that apply could disturb: addresses, routes and all
// settings of all devices.
func (f *farm) dump() string {
	f.t.Helper()
	return in(f, func() (string, error) {
		var lines []string
		addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return "", err
		}
		for _, a := range addrs {
			lines = append(lines, fmt.Sprintf("addr %d %s scope %d flags %#x valid %d preferred %d label %s", a.LinkIndex, a.IPNet, a.Scope, a.Flags, a.ValidLft, a.PreferedLft, a.Label))
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return "", err
			}
			for _, r := range routes {
				lines = append(lines, "route "+r.String())
			}
		}
		for _, root := range []string{"/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"} {
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				if b, err := os.ReadFile(path); err == nil { // some refuse to be read
					lines = append(lines, path+" "+string(bytes.TrimSpace(b)))
				}
				return nil
			})
			if err != nil {
				return "", err
			}
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n"), nil
	})
}

// same fails the test when two dumps differ, and says where.
func same(t *testing.T, before, after string) {
	t.Helper()
	if before == after {
		return
	}
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, l := range a {
		if !slices.Contains(b, l) {
			t.Errorf("gone: %s", l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			t.Errorf("new:  %s", l)
		}
	}
	t.FailNow()
}

// inject sends one frame from the peer.
func (f *farm) inject(frame []byte) {
	f.t.Helper()
	index := f.peer.Index("eth0")
	err := f.peer.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index})
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// build serializes a frame from the peer to dst.
func (f *farm) build(dst net.HardwareAddr, typ layers.EthernetType, ls ...gopacket.SerializableLayer) []byte {
	f.t.Helper()
	eth := &layers.Ethernet{SrcMAC: f.peer.MAC("eth0"), DstMAC: dst, EthernetType: typ}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		append([]gopacket.SerializableLayer{eth}, ls...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	return buf.Bytes()
}

// whoHas asks the network for an address, by ARP or NDP.
func (f *farm) whoHas(a netip.Addr) {
	f.t.Helper()
	mac := f.peer.MAC("eth0")
	if a.Is4() {
		f.inject(f.build(net.HardwareAddr{255, 255, 255, 255, 255, 255}, layers.EthernetTypeARP, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: peer4.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: a.AsSlice(),
		}))
		return
	}
	// To all nodes: the solicited-node group would already keep the question from
	// a host that has not joined it.
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: peer6.AsSlice(), DstIP: net.ParseIP("ff02::1")}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		f.t.Fatal(err)
	}
	f.inject(f.build(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, layers.EthernetTypeIPv6, ip, icmp, &layers.ICMPv6NeighborSolicitation{
		TargetAddress: a.AsSlice(),
		Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: mac}},
	}))
}

// says tells whether a frame claims or answers for an address: an ARP reply, or
// a neighbour advertisement.
func says(a netip.Addr) func(netlab.Frame) bool {
	return func(fr netlab.Frame) bool {
		p := gopacket.NewPacket(fr.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		if fr.Outgoing {
			return false
		}
		if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
			return arp.Operation == layers.ARPReply && bytes.Equal(arp.SourceProtAddress, a.AsSlice())
		}
		na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		return ok && na.TargetAddress.Equal(a.AsSlice())
	}
}

// answered asks for an address and tells whether anybody answered. A question
// for the server's own address goes after it: when that is answered, the first
// one has been dealt with.
func (f *farm) answered(a netip.Addr) bool {
	f.t.Helper()
	c := f.peer.Capture("eth0")
	defer c.Stop()
	own := own4
	if a.Is6() {
		own = own6
	}
	f.whoHas(a)
	f.whoHas(own)
	c.Wait(f.t, patience, says(own), "an answer for the server's own address")
	return len(c.Select(says(a))) > 0
}

// asks returns the address that a frame names as its sender's while it asks for
// a neighbour: the sender of an ARP request, the source of a solicitation.
func asks(target netip.Addr) func(netlab.Frame) (netip.Addr, bool) {
	return func(fr netlab.Frame) (netip.Addr, bool) {
		p := gopacket.NewPacket(fr.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
			a, _ := netip.AddrFromSlice(arp.SourceProtAddress)
			return a, arp.Operation == layers.ARPRequest && bytes.Equal(arp.DstProtAddress, target.AsSlice())
		}
		ns, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
		if !ok || !ns.TargetAddress.Equal(target.AsSlice()) {
			return netip.Addr{}, false
		}
		a, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Src().Raw())
		return a, true
	}
}

// probe sends an echo request for a VIP to the server's MAC, as a director does,
// from a client that the server must look for on the link. It returns the
// address by which the server introduced itself.
func (f *farm) probe(vip, client netip.Addr) netip.Addr {
	f.t.Helper()
	c := f.peer.Capture("eth0")
	defer c.Stop()
	mac := f.eps.MAC("eth0")
	if vip.Is4() {
		f.inject(f.build(mac, layers.EthernetTypeIPv4,
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: client.AsSlice(), DstIP: vip.AsSlice()},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1, Seq: 1}))
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: client.AsSlice(), DstIP: vip.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			f.t.Fatal(err)
		}
		f.inject(f.build(mac, layers.EthernetTypeIPv6, ip, icmp, &layers.ICMPv6Echo{Identifier: 1, SeqNumber: 1}))
	}
	asked := asks(client)
	fr := c.Wait(f.t, patience, func(fr netlab.Frame) bool { _, ok := asked(fr); return ok }, "the server asks for "+client.String())
	a, _ := asked(fr)
	return a
}

// direct makes the peer send packets for a VIP straight to the server's MAC.
func (f *farm) direct(vip netip.Addr) {
	f.t.Helper()
	f.peer.Route(vip.String(), "dev eth0")
	index := f.peer.Index("eth0")
	mac := f.eps.MAC("eth0")
	err := f.peer.Do(func() error {
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: vip.AsSlice(), HardwareAddr: mac})
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// sourceOf returns the source address of a frame's IP packet.
func sourceOf(fr netlab.Frame) netip.Addr {
	var raw []byte
	switch d := fr.Data; {
	case len(d) >= 34 && binary.BigEndian.Uint16(d[12:]) == unix.ETH_P_IP:
		raw = d[26:30]
	case len(d) >= 54 && binary.BigEndian.Uint16(d[12:]) == unix.ETH_P_IPV6:
		raw = d[22:38]
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}
