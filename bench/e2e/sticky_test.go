package e2e

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/forwarder/control"
)

// testPersistence: a client's address stays on one server, over many connections.
func testPersistence(t *testing.T, r *rig) {
	each(t, func(t *testing.T, fam farm.Family) {
		used := map[string]bool{}
		for i := range 6 {
			c := r.caller(fam, stickyVIP)
			c.From = farm.Internet().Addr(fam, farm.ClientHost+i)
			_, first, err := c.Page(t.Context(), "/")
			if err != nil {
				t.Fatal(err)
			}
			used[first] = true
			for range 15 {
				_, server, err := c.Page(t.Context(), "/")
				if err != nil {
					t.Fatal(err)
				}
				if server != first {
					t.Fatalf("%s went to %s and then to %s", c.From, first, server)
				}
			}
		}
		if len(used) != len(r.EPS) {
			t.Errorf("six clients are on %v, want all servers", used)
		}
	})
}

// testThresholds: a server at its upper threshold gets no more connections, and a
// service of such servers refuses, until some have ended.
func testThresholds(t *testing.T, r *rig) {
	var open []net.Conn
	drop := func() {
		for _, c := range open {
			_ = c.(*net.TCPConn).SetLinger(0) // a reset: gone at once
			c.Close()
		}
		open = nil
	}
	defer drop()
	dial := func(ctx context.Context, fam farm.Family) error {
		c, err := r.Client.Dial(ctx, "tcp", net.JoinHostPort(r.MoreVIP(fam, thriftyVIP), "80"))
		if err == nil {
			open = append(open, c)
		}
		return err
	}
	for _, fam := range farm.Both() {
		for i := range 2 * len(r.EPS) {
			if err := dial(t.Context(), fam); err != nil {
				t.Fatalf("%s: connection %d: %v", fam, i+1, err)
			}
		}
		before := r.reasons(t)
		ctx, cancel := context.WithCancel(t.Context())
		refused := make(chan error)
		go func() { refused <- dial(ctx, fam) }()
		r.counts(t, "no-server", before)
		cancel()
		if err := <-refused; err == nil {
			t.Fatalf("%s: a connection too many was made", fam)
		}
	}
	drop()
	r.await(t, "the servers take connections again", func(s *control.Status) bool {
		for _, fam := range farm.Both() {
			for _, n := range r.EPS {
				if b := server(s, fmt.Sprintf("thrifty%d", int(fam)), n.Name()); b.State != "ready" || b.Active+b.Inactive > 0 {
					return false
				}
			}
		}
		return true
	})
	for _, fam := range farm.Both() {
		if err := dial(t.Context(), fam); err != nil {
			t.Errorf("%s: %v", fam, err)
		}
	}
}
