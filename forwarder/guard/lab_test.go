package guard

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A child process applies a state and then waits to be killed.
func TestMain(m *testing.M) {
	if os.Getenv("GUARD_TEST_CHILD") != "" {
		child()
	}
	netlab.Main(m)
}

var (
	vip4, vip6 = netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")
	eps4       = []netip.Addr{netip.MustParseAddr("198.51.100.11"), netip.MustParseAddr("198.51.100.12")}
	eps6       = []netip.Addr{netip.MustParseAddr("2001:db8:1::11"), netip.MustParseAddr("2001:db8:1::12")}
)

// farm is a client, a director and two real servers. The VIPs' MAC address at the
// client is the director's.
type farm struct {
	t        *testing.T
	peer, ds *netlab.Node
	eps      [2]*netlab.Node
	guard    *Guard
	log      *buffer
}

func newFarm(t *testing.T) *farm {
	lab := netlab.New(t)
	f := &farm{t: t, peer: lab.Node("client"), ds: lab.Node("eds1"), log: &buffer{}}
	cl, sv := lab.Switch("cl"), lab.Switch("sv")
	cl.Attach(f.peer, "eth0", "192.0.2.9/24", "2001:db8::9/64")
	cl.Attach(f.ds, "eth0", "192.0.2.2/24", "2001:db8::2/64")
	sv.Attach(f.ds, "eth1", "198.51.100.2/24", "2001:db8:1::2/64")
	for i := range f.eps {
		n := lab.Node(fmt.Sprint("eps", i+1))
		f.eps[i] = n
		n.Sysctl("net.ipv4.conf.all.arp_ignore", "1")
		n.Sysctl("net.ipv4.conf.all.arp_announce", "2")
		sv.Attach(n, "eth0", eps4[i].String()+"/24", eps6[i].String()+"/64")
		n.Addr("lo", vip4.String()+"/32", vip6.String()+"/128")
		f.serve(n, fmt.Sprint("eps", i+1))
	}
	mac := f.ds.MAC("eth0")
	f.must(f.peer.Do(func() error {
		for _, v := range []netip.Addr{vip4, vip6} {
			err := netlink.NeighSet(&netlink.Neigh{LinkIndex: f.peer.Index("eth0"), IP: v.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	f.guard = f.newGuard()
	return f
}

func (f *farm) newGuard() *Guard {
	g, err := New(Config{Log: slog.New(slog.NewTextHandler(f.log, nil))})
	f.must(err)
	return g
}

func (f *farm) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// serve answers with its name on the VIPs, by TCP and UDP.
func (f *farm) serve(n *netlab.Node, name string) {
	for _, v := range []netip.Addr{vip4, vip6} {
		at := netip.AddrPortFrom(v, 80).String()
		ln, err := n.Listen("tcp", at)
		f.must(err)
		pc, err := n.ListenPacket("udp", at)
		f.must(err)
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, name)
				c.Close()
			}
		})
		wg.Go(func() {
			b := make([]byte, 100)
			for {
				_, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = pc.WriteTo([]byte(name), from)
			}
		})
		f.t.Cleanup(func() { ln.Close(); pc.Close(); wg.Wait() })
	}
}

// TestRelearn: a server that takes another MAC address without a word is found
// again at once, and an administrator's entry stays.
func TestRelearn(t *testing.T) {
	f := newFarm(t)
	index := f.ds.Index("eth1")
	f.must(f.ds.Do(func() error {
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: index, IP: eps4[1].AsSlice(), HardwareAddr: f.eps[1].MAC("eth0"), State: netlink.NUD_PERMANENT})
	}))
	knows := func(a netip.Addr) (mac net.HardwareAddr) {
		f.must(f.ds.Do(func() error {
			list, err := netlink.NeighList(index, netlink.FAMILY_ALL)
			for _, n := range list {
				if ip, _ := netip.AddrFromSlice(n.IP); ip.Unmap() == a && n.State&netlink.NUD_FAILED == 0 {
					mac = n.HardwareAddr
				}
			}
			return err
		}))
		return mac
	}
	reach := func(a netip.Addr) {
		pc, err := f.ds.Dial(t.Context(), "udp", netip.AddrPortFrom(a, 9).String())
		f.must(err)
		defer pc.Close()
		_, err = pc.Write([]byte("x"))
		f.must(err)
	}
	for _, a := range []netip.Addr{eps4[0], eps6[0]} {
		reach(a)
		netlab.Eventually(t, 10*time.Second, func() bool { return knows(a) != nil }, "the server is known")
	}
	fresh := net.HardwareAddr{2, 0x53, 0x56, 9, 9, 9}
	f.eps[0].SetMAC("eth0", fresh)
	f.must(f.ds.Do(func() error { return f.guard.Relearn(index, eps4[0], eps6[0], eps4[1], eps6[1]) }))
	for _, a := range []netip.Addr{eps4[0], eps6[0]} {
		reach(a)
		netlab.Eventually(t, 10*time.Second, func() bool { return bytes.Equal(knows(a), fresh) }, "the new MAC address is known")
	}
	if knows(eps4[1]) == nil {
		t.Error("an administrator's entry is gone")
	}
}

// state is the wish of a director with both VIPs and both servers.
func (f *farm) state() State {
	s := State{VIPs: []netip.Addr{vip4, vip6}}
	for i := range f.eps {
		s.Paths = append(s.Paths,
			Path{VIP: vip4, Via: eps4[i], Index: f.ds.Index("eth1"), Mark: f.guard.Mark(i)},
			Path{VIP: vip6, Via: eps6[i], Index: f.ds.Index("eth1"), Mark: f.guard.Mark(i)})
	}
	return s
}

func (f *farm) apply(s State) error {
	return f.ds.Do(func() error { return f.guard.Apply(s) })
}

// who asks a VIP's port 80 from the director, by a marked socket, who it is.
func (f *farm) who(network string, vip netip.Addr, mark uint32) (name string, err error) {
	d := net.Dialer{Timeout: time.Second, Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctl := c.Control(func(fd uintptr) {
			if mark != 0 {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
			}
		})
		if ctl != nil {
			return ctl
		}
		return err
	}}
	var c net.Conn
	// A literal address is dialled by the calling goroutine itself, in the node.
	err = f.ds.Do(func() (err error) {
		c, err = d.DialContext(context.Background(), network, netip.AddrPortFrom(vip, 80).String())
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// rules is everything that iproute2 shows of routes and rules.
func (f *farm) rules() string {
	f.t.Helper()
	var all strings.Builder
	for _, args := range [][]string{
		{"-4", "rule"}, {"-6", "rule"}, {"-4", "route", "show", "table", "all"}, {"-6", "route", "show", "table", "all"},
	} {
		out, err := f.ds.Command(context.Background(), "ip", args...).Output()
		f.must(err)
		fmt.Fprintf(&all, "ip %s\n%s", strings.Join(args, " "), out)
	}
	return all.String()
}

func (f *farm) shell(command string) {
	f.t.Helper()
	f.shellOn(f.ds, command)
}

func (f *farm) shellOn(n *netlab.Node, command string) {
	f.t.Helper()
	out, err := n.Command(context.Background(), "sh", "-c", command).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.b.String()
	b.b.Reset()
	return s
}
