package pair

import (
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

// load is a crowd that ends the test when it can't be gathered.
type load struct {
	*farm.Crowd
	r *rig
}

func (r *rig) open(t testing.TB, idles, downloads, uploads int) *load {
	t.Helper()
	c, err := r.Gather(t.Context(), idles, downloads, uploads)
	r.check(t, err)
	t.Cleanup(c.Close)
	return &load{c, r}
}

func (l *load) transfer(t testing.TB, downloads, uploads int) []error {
	t.Helper()
	if err := l.Move(t.Context(), downloads, uploads); err != nil {
		return []error{err}
	}
	return nil
}

// probe is a pulse that ends with the test.
type probe struct{ *farm.Pulse }

type gap = farm.Gap

func (r *rig) startProbe(t testing.TB) *probe {
	t.Helper()
	p, err := r.StartPulse(t.Context())
	r.check(t, err)
	t.Cleanup(p.Stop)
	return &probe{p}
}

func (p *probe) since(t testing.TB, from time.Time) gap {
	t.Helper()
	g, err := p.Since(from)
	if err != nil {
		t.Error(err)
	}
	return g
}
