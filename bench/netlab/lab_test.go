package netlab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair is two nodes on a switch, both families.
func pair(t testing.TB) (*Lab, *Node, *Node) {
	l := New(t)
	a, b := l.Node("a"), l.Node("b")
	sw := l.Switch("sw")
	sw.Attach(a, "eth0", "192.0.2.1/24", "2001:db8::1/64")
	sw.Attach(b, "eth0", "192.0.2.2/24", "2001:db8::2/64")
	return l, a, b
}

// echo answers every datagram on the address.
func echo(t testing.TB, n *Node, addr string) {
	t.Helper()
	pc, err := n.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			k, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(buf[:k], from)
		}
	}()
}

// ask sends one datagram and wants it back: no retry, so that a network which
// loses the first packets fails.
func ask(t testing.TB, n *Node, addr string) {
	t.Helper()
	c, err := n.Dial(t.Context(), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	k, err := c.Read(buf)
	if err != nil || string(buf[:k]) != "hello" {
		t.Fatalf("answer of %s: %q, %v", addr, buf[:k], err)
	}
}

func TestUsableAtOnce(t *testing.T) {
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			_, a, b := pair(t)
			for _, addr := range []string{"192.0.2.2:7", "[2001:db8::2]:7"} {
				echo(t, b, addr)
				ask(t, a, addr)
			}
		})
	}
}

func TestRoutedOverALink(t *testing.T) {
	l := New(t)
	a, r, b := l.Node("a"), l.Node("r"), l.Node("b")
	l.Link(a, "eth0", r, "eth0")
	l.Link(r, "eth1", b, "eth0")
	a.Addr("eth0", "192.0.2.2/24", "2001:db8:1::2/64")
	r.Addr("eth0", "192.0.2.1/24", "2001:db8:1::1/64")
	r.Addr("eth1", "198.51.100.1/24", "2001:db8:2::1/64")
	b.Addr("eth0", "198.51.100.2/24", "2001:db8:2::2/64")
	a.Route("default", "192.0.2.1")
	a.Route("default", "2001:db8:1::1")
	b.Route("192.0.2.0/24", "198.51.100.1")
	b.Route("2001:db8:1::/64", "2001:db8:2::1")
	r.Sysctl("net.ipv4.ip_forward", "1")
	r.Sysctl("net.ipv6.conf.all.forwarding", "1")
	if got := r.SysctlGet("net/ipv4/ip_forward"); got != "1" {
		t.Errorf("ip_forward of r is %s", got)
	}
	if got := a.SysctlGet("net/ipv4/ip_forward"); got != "0" {
		t.Errorf("ip_forward of a is %s: the setting is not the node's own", got)
	}
	for _, addr := range []string{"198.51.100.2:7", "[2001:db8:2::2]:7"} {
		echo(t, b, addr)
		ask(t, a, addr)
	}
	if c := r.Counters("eth1"); c.TxPackets == 0 || c.RxPackets == 0 {
		t.Errorf("counters of the router: %+v", c)
	}
	b.RouteDel("192.0.2.0/24", "198.51.100.1")
	r.SetMTU("eth1", 1400)
	r.LinkDown("eth0")
}

func TestHTTP(t *testing.T) {
	_, a, b := pair(t)
	ln, err := b.Listen("tcp", "192.0.2.2:80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr)
	})}
	go srv.Serve(ln)
	defer srv.Close()
	get := func(c *http.Client) string {
		resp, err := c.Get("http://192.0.2.2/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	keep, fresh := a.HTTPClient(), a.FreshHTTPClient()
	if x, y := get(keep), get(keep); x != y || !strings.HasPrefix(x, "192.0.2.1:") {
		t.Errorf("kept connection: %s, then %s", x, y)
	}
	if x, y := get(fresh), get(fresh); x == y {
		t.Errorf("fresh connections are the same: %s", x)
	}
}

func TestDialWantsNumbers(t *testing.T) {
	_, a, _ := pair(t)
	if c, err := a.Dial(t.Context(), "tcp", "localhost:80"); err == nil {
		c.Close()
		t.Error("a name was dialled")
	}
}

func TestCapture(t *testing.T) {
	_, a, b := pair(t)
	echo(t, b, "192.0.2.2:7")
	c := a.Capture("eth0")
	ask(t, a, "192.0.2.2:7")
	out := c.Wait(t, 5*time.Second, func(f Frame) bool { return f.Outgoing && bytes.HasSuffix(f.Data, []byte("hello")) }, "question")
	in := c.Wait(t, 5*time.Second, func(f Frame) bool { return !f.Outgoing && bytes.HasSuffix(f.Data, []byte("hello")) }, "answer")
	if !bytes.Equal(out.Data[6:12], a.MAC("eth0")) || !bytes.Equal(in.Data[6:12], b.MAC("eth0")) {
		t.Errorf("source addresses % x, % x", out.Data[6:12], in.Data[6:12])
	}
	c.Stop()
	n := len(c.Frames())
	ask(t, a, "192.0.2.2:7")
	if len(c.Frames()) != n || c.Dropped() != 0 {
		t.Errorf("%d frames after Stop, %d before; %d dropped", len(c.Frames()), n, c.Dropped())
	}
}

func TestCommand(t *testing.T) {
	l, a, _ := pair(t)
	a.Sysctl("net.ipv4.tcp_fin_timeout", "17")
	out, err := a.Command(t.Context(), "sh", "-c", "cat /proc/sys/net/ipv4/tcp_fin_timeout; ls /sys/class/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); len(got) == 0 || got[0] != "17" {
		t.Errorf("the process sees %q", got)
	} else if strings.Join(got[1:], " ") != "eth0 lo" {
		t.Errorf("/sys/class/net: %q", got[1:])
	}
	if err := a.Command(t.Context(), "sh", "-c", "echo oops >&2; exit 3").Run(); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("failing process: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := a.Start(ctx, "sleep", "60")
	cancel()
	if err := c.Wait(); err == nil {
		t.Error("killed process: no error")
	}
	c = a.Start(t.Context(), "sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
	Eventually(t, 5*time.Second, func() bool { return strings.Contains(c.Log(), "ready") }, "start of the shell")
	if err := c.Stop(5 * time.Second); err != nil || !strings.Contains(c.Log(), "bye") {
		t.Errorf("Stop: %v, output %q", err, c.Log())
	}
	last := a.Start(context.Background(), "sleep", "60")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-last.Done():
	default:
		t.Error("a process outlives its lab")
	}
	if err := a.Command(t.Context(), "true").Start(); err == nil {
		t.Error("a process starts in a closed lab")
	}
}

func TestStateTellsChanges(t *testing.T) {
	_, a, _ := pair(t)
	a.Route("203.0.113.0/24", "192.0.2.2")
	before := a.State()
	if d := Diff(before, a.State()); len(d) != 0 {
		t.Errorf("nothing was changed, but: %q", d)
	}
	a.Addr("lo", "192.0.2.100/32", "2001:db8::100/128")
	a.Sysctl("net.ipv4.conf.all.arp_ignore", "1")
	a.Route("203.0.113.0/24", "192.0.2.3")
	d := strings.Join(Diff(before, a.State()), "\n")
	for _, want := range []string{"+ address 192.0.2.100/32 dev lo", "+ address 2001:db8::100/128 dev lo",
		"- net/ipv4/conf/all/arp_ignore = 0", "+ net/ipv4/conf/all/arp_ignore = 1", "- route 203.0.113.0/24 via 192.0.2.2 dev eth0"} {
		if !strings.Contains(d, want) {
			t.Errorf("no line %q in\n%s", want, d)
		}
	}
	a.AddrDel("lo", "192.0.2.100/32")
	a.AddrDel("lo", "2001:db8::100/128")
	a.Sysctl("net.ipv4.conf.all.arp_ignore", "0")
	a.Route("203.0.113.0/24", "192.0.2.2")
	if d := Diff(before, a.State()); len(d) != 0 {
		t.Errorf("everything was put back, but: %q", d)
	}
}

func TestBind(t *testing.T) {
	_, a, b := pair(t)
	at := t.TempDir()
	for _, n := range []*Node{a, b} {
		n.Bind(t.TempDir(), at)
		if err := n.Command(t.Context(), "sh", "-c", "echo "+n.Name()+" >> "+at+"/f").Run(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []*Node{a, b} {
		out, err := n.Command(t.Context(), "cat", at+"/f").Output()
		if err != nil || string(out) != n.Name()+"\n" {
			t.Errorf("%s reads %q, %v", n.Name(), out, err)
		}
	}
	if _, err := os.Stat(at + "/f"); err == nil {
		t.Error("a process wrote to the shared directory")
	}
}

func TestSend(t *testing.T) {
	_, a, b := pair(t)
	c := b.Capture("eth0")
	frame := append(append(append([]byte{}, b.MAC("eth0")...), a.MAC("eth0")...), "\x88\xb5 by hand"...)
	if err := a.Send("eth0", frame); err != nil {
		t.Fatal(err)
	}
	c.Wait(t, 5*time.Second, func(f Frame) bool { return bytes.Equal(f.Data, frame) }, "frame sent by hand")
}

func TestLeaksAreTold(t *testing.T) {
	open := func() (*Lab, *Node) {
		New(t) // skips where a lab is not possible
		l, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		l.patience = 300 * time.Millisecond
		return l, l.Node("n")
	}
	t.Run("socket", func(t *testing.T) {
		l, n := open()
		pc, err := n.ListenPacket("udp", "127.0.0.1:7")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		if err := l.Close(); err == nil || !strings.Contains(err.Error(), "n: socket left open: local port 7") {
			t.Errorf("Close: %v", err)
		}
	})
	t.Run("process", func(t *testing.T) {
		if _, err := exec.LookPath("setsid"); err != nil {
			if os.Getenv("SVM_REQUIRE") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
		l, n := open()
		if err := n.Command(t.Context(), "sh", "-c", "setsid sleep 77 >/dev/null 2>&1 </dev/null &").Run(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err == nil || !strings.Contains(err.Error(), "sleep 77") {
			t.Errorf("Close: %v", err)
		}
		Eventually(t, 5*time.Second, func() bool {
			pids, _ := processes(map[uint64]string{n.inode: "n"})
			return len(pids) == 0
		}, "end of the process left behind")
	})
	t.Run("thread", func(t *testing.T) {
		l, n := open()
		in, out, done := make(chan bool), make(chan bool), make(chan error)
		go func() { done <- n.Do(func() error { close(in); <-out; return nil }) }()
		<-in
		if err := l.Close(); err == nil || !strings.Contains(err.Error(), "thread") {
			t.Errorf("Close: %v", err)
		}
		close(out)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		l, _ := open()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTryReturnsFailures(t *testing.T) {
	New(t)
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := l.Node("n")
	err = l.Try(func() { n.Addr("nosuch0", "192.0.2.1/24") })
	if err == nil || !strings.Contains(err.Error(), "n: device nosuch0") {
		t.Errorf("Try: %v", err)
	}
}

// TestDoComesBack looks at every thread's namespace after many visits at once.
func TestDoComesBack(t *testing.T) {
	_, a, b := pair(t)
	here := nsInode("/proc/thread-self/ns/net")
	done := make(chan error)
	for i := range 32 {
		go func() {
			n := []*Node{a, b}[i%2]
			done <- n.Do(func() error {
				if got := nsInode("/proc/thread-self/ns/net"); got != n.inode {
					return fmt.Errorf("in %d, want %d", got, n.inode)
				}
				return b.Do(func() error { return nil })
			})
		}()
	}
	for range 32 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, p := range tasks {
		if got := nsInode(p); got != here && got != 0 {
			t.Errorf("%s is in %d, want %d", p, got, here)
		}
	}
}

func TestMACsDiffer(t *testing.T) {
	_, a, b := pair(t)
	if bytes.Equal(a.MAC("eth0"), b.MAC("eth0")) {
		t.Error("two devices have one address")
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	a.SetMAC("eth0", mac)
	if !bytes.Equal(a.MAC("eth0"), mac) {
		t.Errorf("address is %s", a.MAC("eth0"))
	}
}

// TestOutside runs this binary again as if from outside and looks at how exit
// codes and flags come through.
func TestOutside(t *testing.T) {
	New(t)
	if os.Getenv("NETLAB_TEST_FAIL") == "1" {
		t.Fatal("as wanted")
	}
	if os.Getenv("NETLAB_TEST_FAIL") != "" {
		return
	}
	for want, value := range map[int]string{0: "0", 1: "1"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOutside$", "-test.v")
		cmd.Env = append(os.Environ(), envState+"=", "NETLAB_TEST_FAIL="+value, "SVM_REQUIRE=1")
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want || !strings.Contains(string(out), "TestOutside") {
			t.Errorf("exit code %d, want %d: %v\n%s", got, want, err, out)
		}
	}
}

func TestHostName(t *testing.T) {
	lab := New(t)
	for _, name := range []string{"one", "two"} {
		out, err := lab.Node(name).Command(t.Context(), "uname", "-n").Output()
		if err != nil || strings.TrimSpace(string(out)) != name {
			t.Errorf("a process of %s calls itself %q, %v", name, out, err)
		}
	}
}
