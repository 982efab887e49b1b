package guard

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
)

// provoke sends everything to the VIPs that a kernel likes to react to, and then
// something to the director's own address; when that is answered the kernel is
// done with the rest. It returns the frames about a VIP that the director sent.
func (f *farm) provoke() (sent []string) {
	f.t.Helper()
	out := []*netlab.Capture{f.ds.Capture("eth0"), f.ds.Capture("eth1")}
	for _, vip := range []netip.Addr{vip4, vip6} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		if c, err := f.peer.Dial(ctx, "tcp", netip.AddrPortFrom(vip, 80).String()); err == nil {
			c.Close()
		}
		cancel()
		if c, err := f.peer.Dial(context.Background(), "udp", netip.AddrPortFrom(vip, 53).String()); err == nil {
			for _, size := range []int{1, 1400, 4000} { // the last one in fragments
				_, _ = c.Write(make([]byte, size))
			}
			c.Close()
		}
		// Exit codes say that nobody answered: just what is wanted.
		_ = f.peer.Command(context.Background(), "ping", "-c", "1", "-W", "0.05", vip.String()).Run()
		_ = f.peer.Command(context.Background(), "ping", "-c", "1", "-W", "0.05", "-t", "1", vip.String()).Run()
	}
	f.solicit(vip4)
	f.solicit(vip6)
	for _, own := range []string{"192.0.2.2", "2001:db8::2"} {
		if b, err := f.peer.Command(context.Background(), "ping", "-c", "1", "-W", "5", own).CombinedOutput(); err != nil {
			f.t.Fatalf("the director's own address is not answered: %v\n%s", err, b)
		}
	}
	for i, c := range out {
		for _, fr := range c.Frames() {
			if fr.Outgoing && mentions(fr.Data) {
				sent = append(sent, fmt.Sprintf("eth%d: %x", i, fr.Data[:min(len(fr.Data), 100)]))
			}
		}
		if n := c.Dropped(); n != 0 {
			f.t.Fatalf("the capture lost %d frames", n)
		}
		c.Stop()
	}
	return sent
}

// solicit sends an ARP request or a neighbour solicitation for the VIP, by letting the
// client's kernel forget its entry and look for it.
func (f *farm) solicit(vip netip.Addr) {
	f.t.Helper()
	f.shellOn(f.peer, fmt.Sprintf("ip neigh del %v dev eth0", vip))
	in := f.ds.Capture("eth0")
	c, err := f.peer.Dial(context.Background(), "udp", netip.AddrPortFrom(vip, 53).String())
	f.must(err)
	_, _ = c.Write([]byte{1})
	in.Wait(f.t, 5*time.Second, func(fr netlab.Frame) bool {
		d := fr.Data
		isARP := len(d) >= 42 && d[12] == 8 && d[13] == 6 && bytes.Equal(d[38:42], vip.AsSlice())
		isNS := len(d) >= 78 && d[12] == 0x86 && d[54] == 135 && bytes.Equal(d[62:78], vip.AsSlice())
		return !fr.Outgoing && (isARP || isNS)
	}, "the client did not ask for the VIP")
	in.Stop()
	c.Close()
	f.shellOn(f.peer, fmt.Sprintf("ip neigh replace %v lladdr %v dev eth0 nud permanent", vip, f.ds.MAC("eth0")))
}

func mentions(frame []byte) bool {
	return bytes.Contains(frame, vip4.AsSlice()) || bytes.Contains(frame, vip6.AsSlice())
}

// With the guard the kernel sends nothing about a VIP, whatever its settings; without
// it, and forwarding on, it does: so the test sees what it looks for.
func TestSilence(t *testing.T) {
	f := newFarm(t)
	for _, forward := range []string{"0", "1"} {
		for _, proxy := range []string{"0", "1"} {
			f.ds.Sysctl("net.ipv4.ip_forward", forward)
			f.ds.Sysctl("net.ipv6.conf.all.forwarding", forward)
			f.ds.Sysctl("net.ipv4.conf.eth0.proxy_arp", proxy)
			f.ds.Sysctl("net.ipv6.conf.eth0.proxy_ndp", proxy)
			// A way on which the kernel would forward the VIPs.
			f.shell("ip route replace 192.0.2.96/28 via 198.51.100.11; ip -6 route replace 2001:db8::100/124 via 2001:db8:1::11")
			if sent := f.provoke(); (len(sent) > 0) != (forward == "1") {
				t.Errorf("without the guard, forwarding %s: sent %d frames", forward, len(sent))
			}
			f.must(f.apply(f.state()))
			for _, sent := range f.provoke() {
				t.Errorf("forwarding %s, proxy_arp %s: the kernel sent %s", forward, proxy, sent)
			}
			f.must(f.ds.Do(f.guard.Undo))
		}
	}
}

// A closed UDP port and a spoofed source: no ICMP error, no forwarding by the rule
// for answers, even when a client pretends to be the director.
func TestSpoofedSource(t *testing.T) {
	f := newFarm(t)
	f.ds.Sysctl("net.ipv4.ip_forward", "1")
	f.ds.Sysctl("net.ipv6.conf.all.forwarding", "1")
	f.must(f.apply(f.state()))
	f.peer.Addr("lo", "198.51.100.2/32", "2001:db8:1::2/128")
	out := []*netlab.Capture{f.ds.Capture("eth0"), f.ds.Capture("eth1")}
	for _, p := range [][2]string{{"198.51.100.2", vip4.String()}, {"2001:db8:1::2", vip6.String()}} {
		c, err := f.peer.DialFrom(context.Background(), "udp", &net.UDPAddr{IP: net.ParseIP(p[0])}, net.JoinHostPort(p[1], "80"))
		f.must(err)
		_, err = c.Write([]byte("?"))
		f.must(err)
		c.Close()
		out[0].Wait(t, 5*time.Second, func(fr netlab.Frame) bool { return !fr.Outgoing && mentions(fr.Data) }, "the spoofed packet did not come")
	}
	if b, err := f.peer.Command(context.Background(), "ping", "-c", "1", "-W", "5", "-I", "192.0.2.9", "192.0.2.2").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	for _, c := range out {
		for _, fr := range c.Frames() {
			if fr.Outgoing && mentions(fr.Data) {
				t.Errorf("the kernel sent %x", fr.Data)
			}
		}
	}
}
