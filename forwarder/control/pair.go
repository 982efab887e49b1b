package control

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/ha"
	"github.com/svm-cluster/svm/ha/flowsync"
)

// Pair is the director's other half, as far as operators rule it.
type Pair interface {
	Status() PairStatus
	Takeover() error
	Release() error
}

// PairStatus is the pair as this director sees it.
type PairStatus struct {
	HA ha.Status `json:"ha"`
	// Sync is nil where connections are not copied: there is no key.
	Sync *flowsync.Status `json:"sync,omitempty"`
}

func (c *Control) getPair(w http.ResponseWriter, _ *http.Request) {
	if c.cfg.Pair == nil {
		fail(w, errAlone)
		return
	}
	answer(w, c.cfg.Pair.Status())
}

var errAlone = absent("this director is alone: the cluster file has one director, or its role was given by --role")

func (c *Control) postPair(do func(Pair) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := drain(r); err != nil {
			fail(w, err)
			return
		}
		if c.cfg.Pair == nil {
			fail(w, errAlone)
			return
		}
		if err := do(c.cfg.Pair); err != nil {
			fail(w, &badRequest{http.StatusConflict, err})
			return
		}
		answer(w, c.cfg.Pair.Status())
	}
}

// Pair returns the pair as the director sees it.
func (c *Client) Pair(ctx context.Context) (p PairStatus, err error) {
	return p, c.call(ctx, http.MethodGet, "/v1/pair", nil, &p)
}

// Takeover makes the director the active one.
func (c *Client) Takeover(ctx context.Context) (p PairStatus, err error) {
	return p, c.call(ctx, http.MethodPost, "/v1/pair/takeover", nil, &p)
}

// Release gives the director's role to the other one.
func (c *Client) Release(ctx context.Context) (p PairStatus, err error) {
	return p, c.call(ctx, http.MethodPost, "/v1/pair/release", nil, &p)
}

// Copy is a Control as flowsync needs it: it names backends in words that both
// directors understand, and counts the connections that come from the other one.
// One goroutine at a time uses it.
type Copy struct {
	c     *Control
	snap  *forwarder.Snapshot // that refs was made from
	refs  map[flowsync.Identity]uint32
	books forwarder.Books
}

// NewCopy makes a Copy.
func NewCopy(c *Control) *Copy { return &Copy{c: c} }

func identity(b *forwarder.Backend) flowsync.Identity {
	return flowsync.Identity{VIP: b.Service.VIP, Proto: b.Service.Proto, Port: b.Service.Ports[0].First, Server: b.Addr}
}

// Identity implements flowsync.Backends.
func (y *Copy) Identity(ref uint32) (flowsync.Identity, bool) {
	b := y.c.cfg.Snapshot.Load().Backend(ref)
	if b == nil {
		return flowsync.Identity{}, false
	}
	return identity(b), true
}

// Ref implements flowsync.Backends.
func (y *Copy) Ref(id flowsync.Identity) (uint32, bool) {
	if snap := y.c.cfg.Snapshot.Load(); snap != y.snap {
		y.snap, y.refs = snap, make(map[flowsync.Identity]uint32, len(snap.Backends))
		for _, b := range snap.Backends {
			if b != nil {
				y.refs[identity(b)] = b.Ref
			}
		}
	}
	ref, ok := y.refs[id]
	return ref, ok
}

// Born, Moved and Gone implement flow.Ledger.
func (y *Copy) Born(m flow.Meta)         { y.books.Born(y.c.cfg.Snapshot.Load(), m) }
func (y *Copy) Moved(from, to flow.Meta) { y.books.Moved(y.c.cfg.Snapshot.Load(), from, to) }
func (y *Copy) Gone(m flow.Meta)         { y.books.Gone(y.c.cfg.Snapshot.Load(), m) }

// watch looks for other hosts that claim a VIP on the client network.
func (c *Control) watch() {
	f := c.cfg.OnForeign
	if f == nil {
		return
	}
	for _, v := range c.cfg.Neighbours.Status().VIPs {
		if v.Conflicts > c.conflicts[v.Addr] {
			c.conflicts[v.Addr] = v.Conflicts
			f(v.Addr, macText(v.Rival))
		}
	}
}

// tellLive counts the servers that can take new connections.
func (c *Control) tellLive() {
	f := c.cfg.OnLive
	if f == nil {
		return
	}
	live := map[netip.Addr]bool{}
	for _, list := range c.servers {
		for i := range list {
			if list[i].accepting() {
				live[list[i].addr] = true
			}
		}
	}
	f(len(live))
}
