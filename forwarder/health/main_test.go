package health

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svm-cluster/svm/bench/netlab"
)

// The whole binary runs in namespaces of its own: loopback there is nobody else's.
func TestMain(m *testing.M) { netlab.Main(m) }

// noLeak fails the test if it ends with goroutines that it did not begin with.
// Called first, so that it looks last.
func noLeak(t *testing.T) {
	t.Helper()
	opt := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, opt) })
}

// check runs one check that must end, and returns its result without the latency.
func check(t *testing.T, target Target) Result {
	t.Helper()
	r := Check(t.Context(), target, nil)
	if r.Latency <= 0 {
		t.Errorf("latency %v, want it measured", r.Latency)
	}
	r.Latency = 0
	return r
}

func want(t *testing.T, got Result, outcome Outcome, text string) {
	t.Helper()
	if got.Outcome != outcome || got.Text != text {
		t.Errorf("got %v %q,\nwant %v %q", got.Outcome, got.Text, outcome, text)
	}
}

// serve hands every TCP connection on a loopback port to f, which may block
// until its context ends with the test, and returns the address.
func serve(t *testing.T, f func(ctx context.Context, c net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, f)
}

func serveOn(t *testing.T, ln net.Listener, f func(ctx context.Context, c net.Conn)) netip.AddrPort {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	conns := make(chan struct{}, 1000)
	go func() {
		defer close(ended)
		n := 0
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			n++
			go func() {
				defer func() { c.Close(); conns <- struct{}{} }()
				stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
				defer stop()
				f(ctx, c)
			}()
		}
		for range n {
			<-conns
		}
	}()
	t.Cleanup(func() { cancel(); ln.Close(); <-ended })
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// readHead reads an HTTP request's header.
func readHead(c io.Reader) string {
	var head []byte
	b := make([]byte, 1)
	for len(head) < 4 || string(head[len(head)-4:]) != "\r\n\r\n" {
		if n, err := c.Read(b); n == 0 || err != nil {
			break
		}
		head = append(head, b[0])
	}
	return string(head)
}

// unused returns a loopback port that nobody listens on.
func unused(t *testing.T) netip.AddrPort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}
