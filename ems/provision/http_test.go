package provision

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/machine"
)

// from makes requests seem to come from an address of the server network.
func from(h http.Handler, source string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(source), 40000).String()
		h.ServeHTTP(w, r)
	})
}

// eds is a director's Server without a network. look makes it see its store.
type eds struct {
	*Server
	store  *machine.Store
	looker looker
	answer http.Handler
}

func newEDS(t testing.TB, s *station, node string) *eds {
	t.Helper()
	e := &eds{store: newStore(t, t.TempDir())}
	e.Server = NewServer(Config{Node: node, Store: e.store, Pin: s.key.Public(), Active: func() bool { return node == "eds1" }, Log: slog.New(slog.DiscardHandler)})
	c, err := cluster.Parse("cluster.yaml", []byte(s.yaml()))
	check(t, err)
	e.looker = looker{node: node, pin: s.key.Public(), store: e.store, fallback: func() *cluster.Cluster { return c }}
	e.answer = newAnswers(e.Server)
	return e
}

func (e *eds) look(t testing.TB) error {
	t.Helper()
	v, err := e.looker.look(t.Context())
	e.view.Store(v)
	return err
}

func (e *eds) get(source, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	from(e.answer, source).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestWhoGetsWhat(t *testing.T) {
	s := newStation(t, macEPS1)
	e := newEDS(t, s, "eds1")
	s.director(t, e.store, "eds1", 7, true)
	check(t, e.look(t))
	const station, eds1, eds2, eps1, eps2 = "192.168.2.5", "192.168.2.2", "192.168.2.3", "192.168.2.11", "192.168.2.12"
	for _, c := range []struct {
		source, path string
		status       int
		says         string
	}{
		{eps1, "/v1/part", 200, "eps1"},
		{eps2, "/v1/part?have=6", 200, "eps2"},
		{"::ffff:" + eps1, "/v1/part", 200, "eps1"},
		{eps1, "/v1/part?have=7", 304, ""},
		{eps1, "/v1/part?have=8", 304, ""},
		{eps1, "/v1/part?have=-1", 400, "have: want"},
		{eps1, "/v1/part?have=eps2", 400, "have: want"},
		{eps1, "/v1/part?node=eps2", 200, "eps1"},
		{eds2, "/v1/part", 403, "192.168.2.3 isn't a real server's address"},
		{station, "/v1/part", 403, "isn't a real server's address"},
		{"192.168.2.99", "/v1/part", 403, "192.168.2.99 isn't an address of a machine of cluster shop (as of generation 7)"},
		{"192.168.1.2", "/v1/part", 403, "isn't an address"}, // the client network's
		{"192.168.1.100", "/v1/part", 403, "isn't an address"},
		{eds2, "/v1/bundle", 200, `"generation"`},
		{eds1, "/v1/bundle.minisig", 200, "signature"},
		{eps1, "/v1/bundle", 403, "only directors"},
		{eps1, "/v1/bundle.minisig", 403, "only directors"},
		{station, "/v1/bundle", 403, "only directors"},
		{"192.168.2.99", "/v1/bundle", 403, "isn't an address"},
		{eps1, "/v1/hello", 200, `"active":true`},
		{station, "/v1/hello", 200, `"generation":7`},
		{"192.168.2.99", "/v1/hello", 403, "isn't an address"},
		{eds1, "/v1/status", 200, `"counts"`},
		{station, "/v1/status", 200, `"dhcp"`},
		{eps1, "/v1/status", 403, "neither"},
		{eps1, "/", 404, ""},
		{eps1, "/v1", 404, ""},
		{eps1, "/v1/", 404, ""},
		{eps1, "/v1/part/eps2", 404, ""},
		{eps1, "/v1/../../etc/passwd", 307, ""}, // to the clean path, which isn't there
	} {
		e.answer = newAnswers(e.Server) // its rate begins anew
		w := e.get(c.source, c.path)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s from %s: %d %.100q, want %d %q", c.path, c.source, w.Code, w.Body, c.status, c.says)
		}
	}
	_, who, err := partOffer(e.get(eps2, "/v1/part").Body.Bytes(), s.key.Public(), "")
	if err != nil || who != "eps2" {
		t.Errorf("eps2 gets the part of %q: %v", who, err)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		w := httptest.NewRecorder()
		from(e.answer, eps1).ServeHTTP(w, httptest.NewRequest(method, "/v1/part", nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}

// Nobody gets an unconfirmed generation; the one before stays on offer.
func TestOnlyConfirmed(t *testing.T) {
	s := newStation(t, macEPS1)
	e := newEDS(t, s, "eds1")
	check(t, e.look(t))
	if w := e.get(addrEPS1, "/v1/part"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("without a generation: %d %s", w.Code, w.Body)
	}
	s.director(t, e.store, "eds1", 7, false)
	if err := e.look(t); err == nil {
		t.Error("an unconfirmed first one is no trouble")
	}
	if w := e.get(addrEPS1, "/v1/part"); w.Code != 503 || !strings.Contains(w.Body.String(), "isn't confirmed") {
		t.Errorf("unconfirmed: %d %s", w.Code, w.Body)
	}
	for _, step := range []struct {
		do   func() error
		want uint64
	}{
		{func() error { return e.store.Confirm(t.Context(), 7) }, 7},
		{func() error { s.director(t, e.store, "eds1", 8, false); return nil }, 7},
		{func() error { return e.store.Rollback(t.Context(), 8) }, 7},
		{func() error { s.director(t, e.store, "eds1", 9, true); return nil }, 9},
	} {
		check(t, step.do())
		check(t, e.look(t))
		var h Hello
		check(t, json.Unmarshal(e.get(addrEPS1, "/v1/hello").Body.Bytes(), &h))
		if o, _, err := partOffer(e.get(addrEPS1, "/v1/part").Body.Bytes(), s.key.Public(), "eps1"); err != nil || o.stamp.Generation != step.want || h.Generation != step.want {
			t.Errorf("gives %d, says %d, want %d: %v", o.stamp.Generation, h.Generation, step.want, err)
		}
	}
	// A view is kept as long as nothing changes.
	before := e.view.Load()
	check(t, e.look(t))
	if e.view.Load() != before {
		t.Error("a new view of the same")
	}
}

func TestTooOften(t *testing.T) {
	s := newStation(t, macEPS1)
	e := newEDS(t, s, "eds1")
	s.director(t, e.store, "eds1", 7, true)
	check(t, e.look(t))
	limited := false
	for range 100 {
		limited = limited || e.get(addrEPS1, "/v1/hello").Code == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("a hundred questions at once were answered")
	}
	if w := e.get(addrEPS2, "/v1/hello"); w.Code != 200 {
		t.Errorf("another machine: %d", w.Code)
	}
}

func TestBuckets(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBuckets[int](2, 3, 2)
	for i, c := range []struct {
		key   int
		after time.Duration
		want  bool
	}{
		{1, 0, true}, {1, 0, true}, {1, 0, true}, {1, 0, false}, {2, 0, true},
		{1, 499 * time.Millisecond, false}, {1, 500 * time.Millisecond, true}, {1, 500 * time.Millisecond, false},
		// Beyond room: all strangers share one.
		{3, 500 * time.Millisecond, true}, {4, 500 * time.Millisecond, true}, {5, 500 * time.Millisecond, true}, {6, 500 * time.Millisecond, true}, {8, 500 * time.Millisecond, false},
		// The known ones are left alone, and idle ones make room.
		{1, time.Second, true}, {7, time.Minute, true}, {7, time.Minute, true},
	} {
		if got := b.take(c.key, now.Add(c.after)); got != c.want {
			t.Errorf("%d: %+v: %v", i, c, got)
		}
	}
	if len(b.by) > 2 {
		t.Errorf("%d keys are remembered", len(b.by))
	}
}

func TestSaid(t *testing.T) {
	var s said
	now := time.Unix(1000, 0)
	if !s.may("a", now) || s.may("a", now.Add(saidEvery-1)) || !s.may("a", now.Add(saidEvery)) {
		t.Error("a line isn't said once a minute")
	}
	n := 0
	for i := range 10 * saidRoom {
		if s.may(time.Duration(i).String(), now.Add(saidEvery)) {
			n++
		}
	}
	if n > saidRoom || len(s.last) > saidRoom {
		t.Errorf("%d lines in a minute, %d kept", n, len(s.last))
	}
}

// served runs a director's answers on a real port, asked from source.
func served(t testing.TB, h http.Handler, source string) netip.AddrPort {
	t.Helper()
	srv := httptest.NewServer(from(h, source))
	t.Cleanup(srv.Close)
	return netip.MustParseAddrPort(srv.Listener.Addr().String())
}

func TestHostileDirector(t *testing.T) {
	s, other := newStation(t, macEPS1), newStation(t, macEPS1)
	foreign := *s
	foreign.name = "bakery"
	hello := func(gen string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"cluster":"shop","generation":` + gen + `}`))
		}
	}
	send := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
	}
	good := s.part(t, "eps1", 9)
	bad := func(old, new string) []byte {
		b := strings.Replace(string(good), old, new, 1)
		if b == string(good) {
			t.Fatalf("no %q in the part", old)
		}
		return []byte(b)
	}
	for name, c := range map[string]struct {
		part http.HandlerFunc
		says string
	}{
		"changed manifest":  {send(bad(`generation\":9`, `generation\":10`)), "signature"},
		"changed file":      {send(changed(t, good)), ""},
		"cut off":           {send(good[:len(good)/2]), ""},
		"empty":             {send(nil), ""},
		"of another server": {send(s.part(t, "eps2", 9)), "eps2"},
		"of another key":    {send(other.part(t, "eps1", 9)), ""},
		"another cluster":   {send(foreign.part(t, "eps1", 9)), "bakery"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/v1/part", http.StatusFound)
		}, "302"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			block := make([]byte, 1<<20)
			for range bundle.MaxPart>>20 + 2 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t, t.TempDir())
			s.server(t, store, "eps1", 7, machine.Settled)
			mux := http.NewServeMux()
			mux.HandleFunc("/v1/hello", hello("9"))
			mux.HandleFunc("/v1/part", c.part)
			a := newTestAgent(s, store)
			err := a.rounds.round(t.Context(), []netip.AddrPort{served(t, mux, addrEPS1)})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
			if st := state(t, store); st.Phase != machine.Settled || st.Confirmed != 7 {
				t.Errorf("the machine is %s on %d", st.Phase, st.Confirmed)
			}
		})
	}
	// It says 9 and has 6, which the station did sign once.
	store := newStore(t, t.TempDir())
	s.server(t, store, "eps1", 7, machine.Settled)
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/hello", hello("9"))
	mux.HandleFunc("/v1/part", send(s.part(t, "eps1", 6)))
	liar := served(t, mux, addrEPS1)
	a := newTestAgent(s, store)
	check(t, a.rounds.round(t.Context(), []netip.AddrPort{liar}))
	if st := state(t, store); st.Phase != machine.Settled || st.Confirmed != 7 {
		t.Errorf("the machine is %s on %d", st.Phase, st.Confirmed)
	}
	// The other director's 8 is taken all the same.
	e := newEDS(t, s, "eds2")
	s.director(t, e.store, "eds2", 8, true)
	check(t, e.look(t))
	check(t, a.rounds.round(t.Context(), []netip.AddrPort{liar, served(t, e.answer, addrEPS1)}))
	if st := state(t, store); st.Phase != machine.Settled || st.Confirmed != 8 {
		t.Errorf("the machine is %s on %d", st.Phase, st.Confirmed)
	}
}

// changed is a part with one byte of a file changed.
func changed(t testing.TB, raw []byte) []byte {
	t.Helper()
	var p bundle.Part
	check(t, json.Unmarshal(raw, &p))
	p.Files[0].Data[0] ^= 1
	b, err := json.Marshal(p)
	check(t, err)
	return b
}

func newTestAgent(s *station, store Store) *Agent {
	return NewAgent(AgentConfig{Store: store, Pin: s.key.Public(), Log: slog.New(slog.DiscardHandler), Cluster: func() *cluster.Cluster { return nil }})
}
