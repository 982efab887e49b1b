package provision

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// A push that hangs is left alone for a while; then the machine goes where the
// directors are.
func TestHangingPush(t *testing.T) {
	s := newStation(t, macEPS1)
	for _, c := range []struct {
		name           string
		phase          machine.Phase // of generation 8, upon 7
		offered        uint64
		before, after  uint64 // current: within patience, and beyond
		phaseB, phaseA machine.Phase
	}{
		{"staged, confirmed elsewhere", machine.Staged, 8, 7, 8, machine.Staged, machine.Settled},
		{"staged, the push goes on", machine.Staged, 7, 7, 7, machine.Staged, machine.Staged},
		{"staged, a later one confirmed", machine.Staged, 9, 7, 9, machine.Staged, machine.Settled},
		{"switched, confirmed elsewhere", machine.Switched, 8, 8, 8, machine.Switched, machine.Settled},
		{"switched, rolled back elsewhere", machine.Switched, 7, 8, 7, machine.Switched, machine.Settled},
		{"switched, a later one confirmed", machine.Switched, 9, 8, 9, machine.Switched, machine.Settled},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, e := newStore(t, t.TempDir()), newEDS(t, s, "eds1")
			s.server(t, store, "eps1", 7, machine.Settled)
			s.server(t, store, "eps1", 8, c.phase)
			s.director(t, e.store, "eds1", c.offered, true)
			check(t, e.look(t))
			at := []netip.AddrPort{served(t, e.answer, addrEPS1)}
			a := newTestAgent(s, store)
			check(t, a.rounds.round(t.Context(), at))
			if st := state(t, store); st.Current.Generation != c.before || st.Phase != c.phaseB {
				t.Errorf("at first: %s on %d", st.Phase, st.Current.Generation)
			}
			a.rounds.patient.since = a.rounds.patient.since.Add(-defaultPatience)
			check(t, a.rounds.round(t.Context(), at))
			if st := state(t, store); st.Current.Generation != c.after || st.Phase != c.phaseA {
				t.Errorf("later: %s on %d", st.Phase, st.Current.Generation)
			}
		})
	}
}

// unwilling is an Activator that refuses a generation.
type unwilling struct {
	obedient
	mu      sync.Mutex
	refuses uint64
	asked   int
}

func (u *unwilling) Activate(_ context.Context, _, now *render.Manifest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now == nil || now.Generation != u.refuses {
		return nil
	}
	u.asked++
	return errors.New("svm-rs.service won't start")
}

// A generation that can't be activated leaves the machine on the one before, and isn't
// tried each round.
func TestUnwilling(t *testing.T) {
	s, dir := newStation(t, macEPS1), t.TempDir()
	newStore(t, dir) // makes the folders
	u := &unwilling{refuses: 8}
	store, err := machine.Open(machine.Config{Root: filepath.Join(dir, "root"), Dir: filepath.Join(dir, "store"), Activator: u})
	check(t, err)
	s.server(t, store, "eps1", 7, machine.Settled)
	e := newEDS(t, s, "eds1")
	s.director(t, e.store, "eds1", 8, true)
	check(t, e.look(t))
	at := []netip.AddrPort{served(t, e.answer, addrEPS1)}
	a := newTestAgent(s, store)
	if err := a.rounds.round(t.Context(), at); err == nil || !strings.Contains(err.Error(), "won't start") {
		t.Errorf("error %v", err)
	}
	asked := u.asked
	for range 5 {
		check(t, a.rounds.round(t.Context(), at))
	}
	if u.asked != asked {
		t.Errorf("tried %d times at once", u.asked)
	}
	if st := state(t, store); st.Current.Generation != 7 || st.Phase != machine.Settled {
		t.Errorf("the machine is %s on %d", st.Phase, st.Current.Generation)
	}
	u.refuses = 0
	a.rounds.next = time.Time{}
	check(t, a.rounds.round(t.Context(), at))
	if st := state(t, store); st.Current.Generation != 8 || st.Phase != machine.Settled {
		t.Errorf("the machine is %s on %d", st.Phase, st.Current.Generation)
	}
}

// A director that missed a push takes it from the other one, with the secrets that are
// sealed to its own key.
func TestCatchUp(t *testing.T) {
	s := newStation(t, macEPS1)
	one := newEDS(t, s, "eds1")
	s.director(t, one.store, "eds1", 9, true)
	check(t, one.look(t))
	at := served(t, one.answer, "192.168.2.3")
	catchUp := func(store Store, identity string) error {
		c := NewCatchUp(CatchUpConfig{Node: "eds2", Store: store, Pin: s.key.Public(), Log: slog.New(slog.DiscardHandler),
			Identity: func() ([]byte, error) { return append([]byte(nil), s.identity[identity]...), nil }})
		return c.rounds.round(t.Context(), []netip.AddrPort{at})
	}
	for name, begin := range map[string]func(*machine.Store){
		"behind": func(two *machine.Store) { s.director(t, two, "eds2", 7, true) },
		"bare":   func(*machine.Store) {},
	} {
		t.Run(name, func(t *testing.T) {
			two := newStore(t, t.TempDir())
			begin(two)
			if err := catchUp(two, "eds1"); err == nil {
				t.Error("secrets were opened with another machine's key")
			}
			check(t, catchUp(two, "eds2"))
			if st := state(t, two); st.Phase != machine.Settled || st.Confirmed != 9 || st.Node != "eds2" {
				t.Errorf("eds2 is %s on %d", st.Phase, st.Confirmed)
			}
			_, proof, err := two.Current()
			check(t, err)
			if len(proof.Bundle) == 0 || len(proof.BundleSig) == 0 {
				t.Error("it can't serve what it took: no bundle lies beside it")
			}
		})
	}
	// Ahead, it doesn't go back.
	two := newStore(t, t.TempDir())
	s.director(t, two, "eds2", 10, true)
	check(t, catchUp(two, "eds2"))
	if st := state(t, two); st.Confirmed != 10 {
		t.Errorf("eds2 is on %d", st.Confirmed)
	}
	// An EPS can't play the director.
	if err := func() error {
		c := NewCatchUp(CatchUpConfig{Node: "eds2", Store: newStore(t, t.TempDir()), Pin: s.key.Public(), Log: slog.New(slog.DiscardHandler)})
		return c.rounds.round(t.Context(), []netip.AddrPort{served(t, one.answer, addrEPS1)})
	}(); err == nil || !strings.Contains(err.Error(), "only directors") {
		t.Errorf("error %v", err)
	}
}

// One machine that holds all its connections open keeps no other out.
func TestGate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	refused := make(chan struct{}, 100)
	g := newGate(ln, func() { refused <- struct{}{} })
	accepted := make(chan net.Conn, 100)
	go func() {
		defer close(accepted)
		for {
			c, err := g.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func(source string) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}).Dial("tcp", ln.Addr().String())
		check(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	var first net.Conn
	for range maxConnsOne {
		dial("127.0.0.1")
		first = <-accepted
	}
	dial("127.0.0.1")
	<-refused
	dial("127.0.0.2")
	other := <-accepted
	first.Close()
	first.Close() // counts once
	dial("127.0.0.1")
	again := <-accepted
	dial("127.0.0.1")
	<-refused
	other.Close()
	again.Close()
	g.Close()
	<-accepted
}
