package health

import (
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestTCP(t *testing.T) {
	noLeak(t)
	echo := serve(t, func(_ context.Context, c net.Conn) {
		b := make([]byte, 100)
		n, _ := c.Read(b)
		io.WriteString(c, "220 hello "+string(b[:n]))
	})
	silent := serve(t, func(ctx context.Context, c net.Conn) { <-ctx.Done() })
	for _, tt := range []struct {
		name    string
		target  Target
		outcome Outcome
		text    string
	}{
		{"connect", Target{Addr: silent}, Pass, "connected"},
		{"refused", Target{Addr: unused(t)}, Fail, "connection refused"},
		{"no address", Target{}, Fail, "no address to check; give the target one"},
		{"send", Target{Addr: silent, Spec: Spec{Send: "x"}}, Pass, "connected"},
		{"expect", Target{Addr: echo, Spec: Spec{Send: "ping", Expect: "lo ping"}}, Pass, "answered as expected"},
		{"wrong answer", Target{Addr: echo, Spec: Spec{Send: "ping", Expect: "pong"}}, Fail, `answered "220 hello ping", want "pong"`},
		{"no answer", Target{Addr: silent, Spec: Spec{Expect: "x", Timeout: 50 * time.Millisecond}}, Fail, "timeout after 50ms while waiting for the answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.target.Spec.Type = TCP
			want(t, check(t, tt.target), tt.outcome, tt.text)
		})
	}
}

// A listener whose queue is full drops SYNs, as a dead server does.
func TestTCPConnectTimeout(t *testing.T) {
	noLeak(t)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*syscall.SockaddrInet4).Port}
	x := Target{Addr: addr.AddrPort(), Spec: Spec{Type: TCP, Timeout: 100 * time.Millisecond}}
	for range 5 { // until the queue is full
		c, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond)
		if err != nil {
			break
		}
		defer c.Close()
	}
	want(t, check(t, x), Fail, "timeout after 100ms while connecting")
}

// The check ends with RST, so that neither side keeps TIME_WAIT.
func TestTCPEndsWithReset(t *testing.T) {
	noLeak(t)
	got := make(chan error, 1)
	addr := serve(t, func(_ context.Context, c net.Conn) {
		_, err := c.Read(make([]byte, 1))
		got <- err
	})
	want(t, check(t, Target{Addr: addr, Spec: Spec{Type: TCP}}), Pass, "connected")
	if err := <-got; err == nil || !strings.Contains(err.Error(), "connection reset") {
		t.Errorf("the server's connection ended with %v, want a reset", err)
	}
}

// A check that is broken off is neither a pass nor a failure.
func TestCheckCancelled(t *testing.T) {
	noLeak(t)
	ctx, cancel := context.WithCancel(t.Context())
	addr := serve(t, func(ctx context.Context, c net.Conn) { cancel(); <-ctx.Done() })
	r := Check(ctx, Target{Addr: addr, Spec: Spec{Type: TCP, Expect: "x", Interval: time.Hour, Timeout: time.Hour}}, nil)
	r.Latency = 0
	want(t, r, Unsure, "not checked: context canceled")
}

func TestUnknownType(t *testing.T) {
	want(t, check(t, Target{Addr: unused(t), Spec: Spec{Type: "smtp"}}), Fail,
		`unknown check type "smtp"; want none, tcp, http, https, udp, exec or ping`)
}

func TestUDP(t *testing.T) {
	noLeak(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			switch s := string(b[:n]); s {
			case "quiet":
			case "twice":
				pc.WriteTo([]byte("first"), from)
				pc.WriteTo([]byte("second"), from)
			case "long":
				pc.WriteTo([]byte(strings.Repeat("x", 60000)+"end"), from)
			default:
				pc.WriteTo([]byte("got "+s), from)
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-ended })
	live := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := dead.LocalAddr().(*net.UDPAddr).AddrPort()
	dead.Close()
	const short = 50 * time.Millisecond
	for _, tt := range []struct {
		name    string
		target  Target
		outcome Outcome
		text    string
	}{
		{"answered", Target{Addr: live, Spec: Spec{Send: "hi"}}, Pass, "answered"},
		{"answered an empty datagram", Target{Addr: live}, Pass, "answered"},
		{"silence is up", Target{Addr: live, Spec: Spec{Send: "quiet", Timeout: short}}, Pass, "no answer and no error within 50ms"},
		{"port unreachable", Target{Addr: closed, Spec: Spec{Send: "hi"}}, Fail, "connection refused"},
		{"port unreachable with expect", Target{Addr: closed, Spec: Spec{Send: "hi", Expect: "x"}}, Fail, "connection refused"},
		{"expect", Target{Addr: live, Spec: Spec{Send: "hi", Expect: "got hi"}}, Pass, "answered as expected"},
		{"expect in a later datagram", Target{Addr: live, Spec: Spec{Send: "twice", Expect: "second"}}, Pass, "answered as expected"},
		{"expect at the end of a long one", Target{Addr: live, Spec: Spec{Send: "long", Expect: "end"}}, Pass, "answered as expected"},
		{"wrong answer", Target{Addr: live, Spec: Spec{Send: "hi", Expect: "pong", Timeout: short}}, Fail, `timeout after 50ms, got "got hi", want "pong"`},
		{"no answer", Target{Addr: live, Spec: Spec{Send: "quiet", Expect: "x", Timeout: short}}, Fail, "timeout after 50ms while waiting for the answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.target.Spec.Type = UDP
			want(t, check(t, tt.target), tt.outcome, tt.text)
		})
	}
}
