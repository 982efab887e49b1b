package realserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Without apply the network hears of the VIP: these are the wrongs that the
// other tests would not see if their questions did not reach the server.
func TestControl(t *testing.T) {
	t.Run("a plain IPv4 address on lo is answered for and introduced", func(t *testing.T) {
		f := newFarm(t)
		f.lo(vip4.String() + "/32")
		if !f.answered(vip4) {
			t.Error("no ARP answer for an address on lo: the question does not arrive")
		}
		if got := f.probe(vip4, netip.MustParseAddr("192.0.2.77")); got != vip4 {
			t.Errorf("the server introduces itself as %s, want %s: the probe shows nothing", got, vip4)
		}
	})
	t.Run("an IPv6 address of the device is answered for", func(t *testing.T) {
		f := newFarm(t)
		f.eps.Addr("eth0", vip6.String()+"/128")
		if !f.answered(vip6) {
			t.Error("no answer to a solicitation for an address of eth0: the question does not arrive")
		}
	})
}

func TestNeverAnswersForVIP(t *testing.T) {
	f := newFarm(t)
	f.apply(want)
	for _, vip := range want.VIPs {
		if f.answered(vip) {
			t.Errorf("the server answers for %s", vip)
		}
	}
}

// The VIP stays secret on every device, not only on the one named.
func TestNeverAnswersOnAnotherDevice(t *testing.T) {
	lab := netlab.New(t)
	f := &farm{t: t, eps: lab.Node("eps1"), peer: lab.Node("peer"), file: t.TempDir() + "/state.json"}
	lab.Link(f.eps, "eth1", f.peer, "eth1")
	f.eps.Addr("eth1", "198.51.100.11/24")
	sw := lab.Switch("s")
	sw.Attach(f.eps, "eth0", own4.String()+"/24", own6.String()+"/64")
	sw.Attach(f.peer, "eth0", peer4.String()+"/24", peer6.String()+"/64")
	other := want
	other.Device = "eth1"
	f.apply(other)
	for _, vip := range want.VIPs {
		if f.answered(vip) {
			t.Errorf("the server answers for %s on a device that apply was not told of", vip)
		}
	}
}

// A server that looks for a neighbour says who asks; it must not say the VIP,
// or that neighbour learns a wrong MAC address for it.
func TestNeverIntroducesItselfAsVIP(t *testing.T) {
	f := newFarm(t)
	f.apply(want)
	if got := f.probe(vip4, netip.MustParseAddr("192.0.2.77")); got != own4 {
		t.Errorf("ARP request from %s, want %s", got, own4)
	}
	if got := f.probe(vip6, netip.MustParseAddr("2001:db8::77")); got == vip6 || !got.IsValid() {
		t.Errorf("neighbour solicitation from %s", got)
	}
}

// What the director sends reaches servers bound to the VIP and to any address,
// and the reply says the VIP.
func TestServesVIP(t *testing.T) {
	for _, vip := range want.VIPs {
		t.Run(vip.String(), func(t *testing.T) {
			f := newFarm(t)
			f.apply(want)
			f.direct(vip)
			c := f.peer.Capture("eth0")
			defer c.Stop()
			for _, at := range []string{netip.AddrPortFrom(vip, 80).String(), "[::]:81"} {
				ln, err := f.eps.Listen("tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
				go greet(ln)
				_, port, _ := net.SplitHostPort(at)
				f.tcp(net.JoinHostPort(vip.String(), port))
			}
			// A UDP server has to be bound to the VIP: bound to any address, its
			// replies leave with the server's own.
			pc, err := f.eps.ListenPacket("udp", netip.AddrPortFrom(vip, 53).String())
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			go echo(pc)
			f.udp(netip.AddrPortFrom(vip, 53).String())
			replies := c.Select(func(fr netlab.Frame) bool { return !fr.Outgoing && sourceOf(fr) == vip })
			if len(replies) < 3 {
				t.Errorf("%d frames from %s seen, want at least 3", len(replies), vip)
			}
		})
	}
}

func greet(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(c, "hello from ", c.LocalAddr().(*net.TCPAddr).IP)
		c.Close()
	}
}

func echo(pc net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = pc.WriteTo(buf[:n], from)
	}
}

func (f *farm) tcp(addr string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	c, err := f.peer.Dial(ctx, "tcp", addr)
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(c)
	if host, _, _ := net.SplitHostPort(addr); err != nil || string(got) != "hello from "+host {
		f.t.Errorf("tcp %s: %q, %v", addr, got, err)
	}
}

func (f *farm) udp(addr string) {
	f.t.Helper()
	c, err := f.peer.Dial(f.t.Context(), "udp", addr) // connected: takes answers from addr only
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 100)
	if _, err := c.Write([]byte("ping")); err != nil {
		f.t.Fatal(err)
	}
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "ping" {
		f.t.Errorf("udp %s: %q, %v", addr, buf[:n], err)
	}
}

// The server's own connections never leave with the VIP as their source.
func TestOwnConnectionsKeepTheirSource(t *testing.T) {
	f := newFarm(t)
	// The longest common prefix with the second VIP must not win either.
	w := want
	w.VIPs = append(w.VIPs, netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:4860::9"))
	f.apply(w)
	for to, source := range map[string]netip.Addr{
		"192.0.2.1:9": own4, "203.0.113.8:9": own4,
		"[2001:db8::1]:9": own6, "[2001:4860::8]:9": own6,
	} {
		c, err := f.eps.Dial(t.Context(), "udp", to)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); got != source {
			t.Errorf("to %s from %s, want %s", to, got, source)
		}
		c.Close()
	}
}

// A connection leaves by a device without an address of its own: another
// device's comes before the VIP, though an IPv6 VIP shares more bits with the
// destination. The control shows that a plain VIP would win.
func TestVIPIsLastChoice(t *testing.T) {
	for _, c := range []struct{ vip, other, net, to string }{
		{"192.0.2.100/32", "198.51.100.11/24", "192.0.2.0/24", "192.0.2.1:9"},
		{"2001:db8::100/128", "2001:4860::11/64", "2001:db8::/64", "[2001:db8::1]:9"},
	} {
		t.Run(c.vip, func(t *testing.T) {
			lab := netlab.New(t)
			f := &farm{t: t, eps: lab.Node("eps1"), peer: lab.Node("peer"), file: t.TempDir() + "/state.json"}
			lab.Link(f.eps, "eth0", f.peer, "eth0")
			lab.Link(f.eps, "eth1", f.peer, "eth1")
			f.eps.Addr("eth1", c.other)
			f.eps.Route(c.net, "dev eth0")
			source := func() netip.Addr {
				conn, err := f.eps.Dial(t.Context(), "udp", c.to)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
			}
			vip := netip.MustParsePrefix(c.vip).Addr()
			f.lo(c.vip)
			if got := source(); got != vip {
				t.Errorf("plain: from %s, want %s: this shows nothing", got, vip)
			}
			f.eps.AddrDel("lo", c.vip)
			f.apply(Config{Device: "eth0", VIPs: []netip.Addr{vip}})
			if got := source(); got != netip.MustParsePrefix(c.other).Addr() {
				t.Errorf("from %s, want %s", got, c.other)
			}
		})
	}
}

// When apply returns, every VIP is the host's own.
func TestApplyWaitsForTheKernel(t *testing.T) {
	f := newFarm(t)
	many := Config{Device: "eth0"}
	for i := range 50 {
		a := vip6.As16()
		a[15] = byte(i)
		many.VIPs = append(many.VIPs, netip.AddrFrom16(a))
	}
	in(f, func() (struct{}, error) {
		if _, err := Apply(t.Context(), many, f.file); err != nil {
			return struct{}{}, err
		}
		for i := range many.VIPs { // the last one first: it has had the least time
			a := many.VIPs[len(many.VIPs)-1-i]
			if r, err := netlink.RouteGet(a.AsSlice()); err != nil || r[0].Type != unix.RTN_LOCAL {
				t.Errorf("%s is not local yet: %v, %v", a, r, err)
			}
		}
		return struct{}{}, nil
	})
}
