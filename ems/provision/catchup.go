package provision

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// CatchUpConfig configures a CatchUp.
type CatchUpConfig struct {
	Node  string
	Store Store
	Pin   string // the station's public key
	// Identity reads this machine's age identity, /etc/svm/machine.key. It is called when
	// secrets have to be opened, and what it returns isn't kept.
	Identity func() ([]byte, error)
	Peers    func() []netip.AddrPort // of the other directors; called each round
	Every    time.Duration           // 0: 10 s
	Patience time.Duration           // with a push that may be going on; 0: 2 min
	Log      *slog.Logger
}

// CatchUp brings a director that missed a push to the other director's confirmed
// generation.
type CatchUp struct {
	cfg    CatchUpConfig
	rounds rounds
}

// NewCatchUp makes a CatchUp; Run starts it.
func NewCatchUp(cfg CatchUpConfig) *CatchUp {
	c := &CatchUp{cfg: cfg}
	c.rounds = rounds{store: cfg.Store, log: cfg.Log, asker: newAsker(), patience: orDefault(cfg.Patience, defaultPatience), fetch: c.fetch}
	return c
}

// Run asks until ctx ends. Nothing else ends it.
func (c *CatchUp) Run(ctx context.Context) error {
	for {
		if peers := c.cfg.Peers(); len(peers) > 0 {
			// That the other director is off is no fault of this one, and known elsewhere.
			if err := c.rounds.round(ctx, peers); err != nil && ctx.Err() == nil {
				c.rounds.complain(fmt.Errorf("catch up with the other director: %w", err))
			}
		}
		if !sleep(ctx, jitter(orDefault(c.cfg.Every, 10*time.Second))) {
			return nil
		}
	}
}

func (c *CatchUp) fetch(ctx context.Context, st *machine.State, at netip.AddrPort) (offer, error) {
	raw, sig, err := c.rounds.asker.bundle(ctx, at)
	if err != nil {
		return offer{}, err
	}
	b, err := bundle.Open(raw, sig, c.cfg.Pin)
	if err != nil {
		return offer{}, err
	}
	return offer{b.Stamp, func() (*render.Config, machine.Proof, error) {
		name := ""
		if st.Current != nil {
			name = st.Current.Cluster
		}
		fail := func(err error) (*render.Config, machine.Proof, error) { return nil, machine.Proof{}, err }
		if err := b.Accept(c.cfg.Node, name, st.Confirmed); err != nil {
			return fail(err)
		}
		identity, err := c.cfg.Identity()
		if err != nil {
			return fail(fmt.Errorf("this machine's key: %w", err))
		}
		secrets, err := b.Unseal(c.cfg.Node, identity)
		clear(identity)
		if err != nil {
			return fail(err)
		}
		conf, signed, err := b.Director(c.cfg.Node, secrets)
		if err != nil {
			return fail(err)
		}
		return conf, machine.Proof{
			Manifest: []byte(signed.Manifest), Signature: []byte(signed.Signature), Bundle: raw, BundleSig: sig,
		}, nil
	}}, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// jitter is d, give or take a fifth, so that machines which start together don't ask
// together.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5+1)
}
