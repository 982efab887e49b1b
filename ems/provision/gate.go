package provision

import (
	"net"
	"net/netip"
	"sync"
)

const (
	maxConns    = 256 // connections at once
	maxConnsOne = 8   // of them from one address
)

// gate is a listener that closes connections beyond the limits at once, so that one
// machine that holds many open keeps no other out.
type gate struct {
	net.Listener
	refused func()

	mu  sync.Mutex
	all int
	by  map[netip.Addr]int
}

func newGate(l net.Listener, refused func()) *gate {
	return &gate{Listener: l, refused: refused, by: make(map[netip.Addr]int)}
}

// Accept returns the next connection that is within the limits.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var from netip.Addr
		if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
			from = a.Addr().Unmap()
		}
		if g.enter(from) {
			return &gated{Conn: c, leave: sync.OnceFunc(func() { g.leave(from) })}, nil
		}
		g.refused()
		c.Close()
	}
}

func (g *gate) enter(from netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= maxConns || g.by[from] >= maxConnsOne {
		return false
	}
	g.all++
	g.by[from]++
	return true
}

func (g *gate) leave(from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.by[from]--; g.by[from] == 0 {
		delete(g.by, from)
	}
}

type gated struct {
	net.Conn
	leave func()
}

// Close closes the connection and makes room for another.
func (c *gated) Close() error {
	c.leave()
	return c.Conn.Close()
}
