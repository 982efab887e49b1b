package health

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A server that takes connections and says nothing is down, by each single check:
// none may be put down to the checker's own deadline.
func TestSilentServerFailsEveryCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := New(Config{})
	m.Set([]Target{{
		Key: "web/eps1", Addr: netip.MustParseAddrPort(l.Addr().String()),
		Spec: Spec{Type: HTTP, Interval: 20 * time.Millisecond, Timeout: 10 * time.Millisecond, Fall: 3},
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); m.Status()[0].Failures < 30; {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", m.Status()[0])
		}
		<-time.After(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := m.Status()[0]; s.Unsure > 0 || s.Passes > 0 || s.Up {
		t.Errorf("%d failures, but also %d unsure and %d passes", s.Failures, s.Unsure, s.Passes)
	}
}
