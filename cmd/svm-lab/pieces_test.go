package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestQuestions has an independent decoder read the frames made by hand.
func TestQuestions(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	p := gopacket.NewPacket(arpRequest(mac, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.100")), layers.LayerTypeEthernet, gopacket.Default)
	arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok || arp.Operation != layers.ARPRequest || net.IP(arp.DstProtAddress).String() != "192.0.2.100" || net.IP(arp.SourceProtAddress).String() != "192.0.2.1" {
		t.Errorf("ARP request: %v", p)
	}
	from, target := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::100")
	frame := solicitation(mac, from, target)
	p = gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	ns, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
	if !ok || ns.TargetAddress.String() != "2001:db8::100" || len(ns.Options) != 1 || !bytes.Equal(ns.Options[0].Data, mac) {
		t.Fatalf("neighbour solicitation: %v", p)
	}
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	if ip.DstIP.String() != "ff02::1:ff00:100" || ip.HopLimit != 255 {
		t.Errorf("IPv6 header: %v", ip)
	}
	icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	sent := icmp.Checksum
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, icmp, gopacket.Payload(icmp.LayerPayload())); err != nil {
		t.Fatal(err)
	}
	if icmp.Checksum != sent {
		t.Errorf("checksum %#x, want %#x", sent, icmp.Checksum)
	}
}

func TestAnswers(t *testing.T) {
	vip4, vip6 := netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	reply := arpRequest(mac, vip4, netip.MustParseAddr("192.0.2.1"))
	reply[21] = arpOpReply
	reply4other := bytes.Clone(reply)
	reply4other[31]++
	na := solicitation(mac, vip6, vip6)
	na[54], na[78] = icmpNA, 2
	bare := na[:78]
	for name, c := range map[string]struct {
		got  net.HardwareAddr
		want string
	}{
		"reply":               {arpAnswer(reply, vip4), mac.String()},
		"reply about another": {arpAnswer(reply4other, vip4), ""},
		"request":             {arpAnswer(arpRequest(mac, vip4, vip4), vip4), ""},
		"short":               {arpAnswer(reply[:41], vip4), ""},
		"advertisement":       {advertisement(na, vip6), mac.String()},
		"without option":      {advertisement(bare, vip6), mac.String()},
		"solicitation":        {advertisement(solicitation(mac, vip6, vip6), vip6), ""},
		"of another":          {advertisement(na, netip.MustParseAddr("2001:db8::101")), ""},
		"cut":                 {advertisement(na[:77], vip6), ""},
	} {
		if c.got.String() != c.want {
			t.Errorf("%s: %s, want %q", name, c.got, c.want)
		}
	}
}

func TestChoices(t *testing.T) {
	if all, err := chooseTopologies("all"); err != nil || len(all) != 4 {
		t.Errorf("all: %v, %v", all, err)
	}
	if one, err := chooseTopologies("one-router-public"); err != nil || len(one) != 1 || one[0].Routers != 1 || !one[0].Public {
		t.Errorf("one: %v, %v", one, err)
	}
	if _, err := chooseTopologies("ring"); err == nil || !strings.Contains(err.Error(), "two-router-private") {
		t.Errorf("ring: %v", err)
	}
	if _, err := chooseFamilies("5"); err == nil {
		t.Error("family 5 is taken")
	}
	for _, args := range []string{"--servers 0", "--requests 0", "--topology all --keep", "extra"} {
		app := app()
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		err := app.RunContext(t.Context(), append([]string{"svm-lab"}, strings.Fields(args)...))
		if err == nil || errors.As(err, new(exitCode)) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestTally(t *testing.T) {
	c := newTally(200)
	for i := range 100 {
		c.add("eps1", time.Duration(i+1)*time.Millisecond, nil)
	}
	for range giveUpAfter {
		if c.hopeless() {
			t.Fatal("gives up too early")
		}
		c.add("", 0, io.ErrUnexpectedEOF)
	}
	f := c.figures()
	if f.done != 100 || f.failed != giveUpAfter || f.byServer["eps1"] != 100 || len(f.errs) != keepErrors ||
		f.p50 != 51*time.Millisecond || f.p99 != 100*time.Millisecond || !c.hopeless() {
		t.Errorf("%+v", f)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		part, whole int
		want        string
	}{{0, 8, "    "}, {8, 8, "████"}, {4, 8, "██  "}, {1, 32, "▏   "}, {3, 8, "█▌  "}, {0, 0, "    "}, {9, 8, "████"}} {
		if got := bar(c.part, c.whole, 4); got != c.want {
			t.Errorf("bar(%d, %d) is %q, want %q", c.part, c.whole, got, c.want)
		}
	}
}

func TestScreen(t *testing.T) {
	var b strings.Builder
	s := &screen{out: &b, tty: true}
	s.draw("one\ntwo\n")
	s.draw("three\n")
	s.print("four\n")
	if want := "one\ntwo\n\x1b[2Athree\x1b[K\n\x1b[J\x1b[1Afour\x1b[K\n\x1b[J"; b.String() != want {
		t.Errorf("terminal: %q", b.String())
	}
	b.Reset()
	s = &screen{out: &b}
	s.draw("one\n")
	s.print(s.red("two") + "\n")
	if b.String() != "two\n" {
		t.Errorf("file: %q", b.String())
	}
}
