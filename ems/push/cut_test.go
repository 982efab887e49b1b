package push_test

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/push/pushtest"
)

// wire breaks after a number of bytes, in both directions together: it closes, or it
// falls silent and nobody is told.
type wire struct {
	net.Conn
	left   *atomic.Int64
	silent bool
	once   sync.Once
	gone   chan struct{}
}

func (w *wire) spend(n int) bool { return w.left.Add(-int64(n)) >= 0 }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if !w.spend(n) {
		return 0, w.end()
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if w.spend(len(p)) {
		return w.Conn.Write(p)
	}
	if w.silent {
		select {
		case <-w.gone:
			return 0, net.ErrClosed
		default:
			return len(p), nil // into a buffer that nobody empties
		}
	}
	return 0, w.end()
}

func (w *wire) end() error {
	if w.silent {
		<-w.gone
	}
	w.Conn.Close()
	return net.ErrClosed
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.gone) })
	return w.Conn.Close()
}

// The network is cut once, after any number of bytes: the push goes on or goes back,
// and never leaves machines in between.
func TestCutAnywhere(t *testing.T) {
	for _, silent := range []bool{false, true} {
		for _, node := range []string{"eds1", "eps1"} {
			t.Run(fmt.Sprintf("%s silent %v", node, silent), func(t *testing.T) {
				t.Parallel()
				cutAnywhere(t, node, silent)
			})
		}
	}
}

func cutAnywhere(t *testing.T, node string, silent bool) {
	f := pushtest.New(t, pushtest.Config{Servers: 2})
	first(t, f, 2)
	points := 24
	if silent || testing.Short() {
		points = 4
	}
	g := uint64(1)
	var total atomic.Int64 // of a whole push
	total.Store(1 << 40)
	count := func(name string, c net.Conn) net.Conn {
		if name != node {
			return c
		}
		return &wire{Conn: c, left: &total, gone: make(chan struct{})}
	}
	f.Wrap(count)
	g++
	if _, err := push.Run(t.Context(), f.Plan(g, f.YAML(2, fmt.Sprint(g))), nil); err != nil {
		t.Fatal(err)
	}
	whole := 1<<40 - total.Load()
	delivered := 0
	for i := range points {
		var left atomic.Int64
		left.Store(whole * int64(i) / int64(points))
		f.Wrap(func(name string, c net.Conn) net.Conn {
			if name != node || left.Load() < 0 { // it broke: the next connection is well
				return c
			}
			return &wire{Conn: c, left: &left, silent: silent, gone: make(chan struct{})}
		})
		on(t, f, g)
		g++
		began := time.Now()
		res, err := push.Run(t.Context(), f.Plan(g, f.YAML(2, fmt.Sprint(g))), nil)
		if left.Load() >= 0 && i > 0 {
			t.Logf("point %d: %d bytes were left", i, left.Load())
		}
		switch res.Ending {
		case push.Delivered:
			delivered++
			on(t, f, g)
		case push.RolledBack, push.Torn:
			for name, m := range f.Machines {
				if s := state(t, m); s.Current == nil || s.Current.Generation != g-1 || s.Phase == machine.Switched {
					t.Errorf("after %v, cut at %d of %d bytes: %s: %+v", err, whole*int64(i)/int64(points), whole, name, s)
				}
			}
			f.Wrap(nil)
			if _, err := push.Run(t.Context(), f.Plan(g, f.YAML(2, fmt.Sprint(g))), nil); err != nil {
				t.Fatalf("the next push: %v", err)
			}
			on(t, f, g)
		default:
			t.Fatalf("%s: %v", res.Ending, err)
		}
		if took := time.Since(began); testing.Verbose() {
			t.Logf("cut at %d of %d bytes: %s in %v: %v", whole*int64(i)/int64(points), whole, res.Ending, took.Round(time.Millisecond), err)
		}
	}
	// Most points lie where the connection is only made again.
	if delivered < points/2 {
		t.Errorf("only %d of %d pushes were delivered in spite of one cut", delivered, points)
	}
}
