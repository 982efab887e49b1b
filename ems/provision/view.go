package provision

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// view is what a director knows at one moment. It is immutable but for the parts,
// which are rendered when they are first asked for.
type view struct {
	stamp   render.Stamp     // of the confirmed generation; zero where there is none
	cluster *cluster.Cluster // of the same; without one what the director runs on, or nil
	self    *cluster.Director
	raw,
	sig []byte
	bundle *bundle.Bundle
	why    string // there is no bundle

	mu    sync.Mutex
	parts map[string][]byte
}

// part is the real server's, as bytes to send.
func (v *view) part(node string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if p := v.parts[node]; p != nil {
		return p, nil
	}
	p, err := v.bundle.Part(node)
	if err == nil {
		v.parts[node] = p
	}
	return p, err
}

// server finds the real server with the address.
func (v *view) server(a netip.Addr) *cluster.RealServer {
	for i := range v.cluster.RealServers {
		if rs := &v.cluster.RealServers[i]; rs.Address == a || rs.Address6 == a && a.IsValid() {
			return rs
		}
	}
	return nil
}

// director finds the director with the address on the server network.
func (v *view) director(a netip.Addr) *cluster.Director {
	for i := range v.cluster.Directors {
		if s := &v.cluster.Directors[i].Server; s.Address == a || s.Address6 == a && a.IsValid() {
			return &v.cluster.Directors[i]
		}
	}
	return nil
}

// looker follows a store. One goroutine calls look.
type looker struct {
	node, pin string
	store     Store                   // nil: no bundle ever
	fallback  func() *cluster.Cluster // may be nil
	last      *view
}

// look returns the view as it is now: the same pointer while nothing has changed. An
// unconfirmed generation is not looked at: the confirmed one before it stays until the
// machine has settled.
func (l *looker) look(ctx context.Context) (*view, error) {
	v, err := l.confirmed(ctx)
	if v != nil {
		l.last = v
		return v, err
	}
	why := "this director has no generation from the station"
	if err != nil {
		why = err.Error()
	}
	v = &view{why: why}
	if l.fallback != nil {
		v.cluster = l.fallback()
	}
	if v.cluster != nil {
		v.self = v.cluster.Director(l.node)
	}
	if old := l.last; old == nil || old.bundle != nil || old.cluster != v.cluster || old.why != v.why {
		l.last = v
	}
	return l.last, err
}

// confirmed returns nil where no confirmed generation can be shown.
func (l *looker) confirmed(ctx context.Context) (*view, error) {
	if l.store == nil {
		return nil, nil
	}
	st, err := l.store.State(ctx)
	if err != nil {
		return l.kept(), fmt.Errorf("read the store: %w", err)
	}
	if st.Phase == machine.Switched {
		if k := l.kept(); k != nil {
			return k, nil
		}
		return nil, fmt.Errorf("generation %d isn't confirmed yet", st.Current.Generation)
	}
	if st.Current == nil {
		return nil, nil
	}
	if k := l.kept(); k != nil && k.stamp == *st.Current {
		return k, nil
	}
	m, p, err := l.store.Current()
	if err != nil {
		return l.kept(), fmt.Errorf("read the current generation: %w", err)
	}
	if m == nil || p == nil || m.Stamp != *st.Current {
		return l.kept(), nil // it changed meanwhile: the next look sees it
	}
	v, err := l.open(m, p)
	if err != nil {
		return l.kept(), fmt.Errorf("generation %d: %w", m.Generation, err)
	}
	return v, nil
}

// kept is the view of a confirmed generation that was seen before, or nil.
func (l *looker) kept() *view {
	if l.last != nil && l.last.bundle != nil {
		return l.last
	}
	return nil
}

func (l *looker) open(m *render.Manifest, p *machine.Proof) (*view, error) {
	if len(p.Bundle) == 0 {
		return nil, errors.New("no bundle lies beside it; is this a director?")
	}
	b, err := bundle.Open(p.Bundle, p.BundleSig, l.pin)
	if err != nil {
		return nil, err
	}
	if b.Stamp != m.Stamp {
		return nil, fmt.Errorf("the bundle beside it is of generation %d", b.Generation)
	}
	cl, err := cluster.Parse("cluster.yaml", []byte(b.YAML))
	if err != nil {
		return nil, err
	}
	self := cl.Director(l.node)
	if self == nil {
		return nil, fmt.Errorf("cluster %s has no director %q", cl.Name, l.node)
	}
	return &view{
		stamp: b.Stamp, cluster: cl, self: self, raw: p.Bundle, sig: p.BundleSig, bundle: b,
		parts: make(map[string][]byte),
	}, nil
}
