package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"golang.org/x/sync/errgroup"
)

// Config configures a Server.
type Config struct {
	Node string // this director's name
	// Store holds the generation that is served, once it is confirmed. nil: DHCP only.
	Store Store
	Pin   string // the station's public key, as render.Roster.StationKey
	// Cluster is what this director runs on. It counts for DHCP as long as the store has
	// no confirmed generation. May be nil, and may return nil; it is called often, and
	// returns the same pointer as long as nothing has changed.
	Cluster func() *cluster.Cluster
	Active  func() bool // this director has the role now; called often, from many goroutines
	Version string      // of the program, for Hello
	Log     *slog.Logger
}

// Server is a director's side: DHCP while it is active, HTTP always. It follows the
// store: device, address and port are those of the confirmed generation.
type Server struct {
	cfg  Config
	view atomic.Pointer[view]

	mu       sync.Mutex
	counts   map[Count]uint64
	problems map[string]problem
	said     said
	dhcp     string // why it isn't served, or on which device it is
}

type problem struct {
	text string
	last time.Time
}

// problemsFor is how long a problem is shown after it was last seen.
const problemsFor = 5 * time.Minute

// Status is what a Server has done and what stands in its way.
type Status struct {
	Generation uint64           `json:"generation"` // that is served; 0: none
	DHCP       string           `json:"dhcp"`       // on which device, or why not
	Counts     map[Count]uint64 `json:"counts"`
	Problems   []string         `json:"problems,omitempty"` // of the last five minutes, sorted
}

// NewServer makes a Server; Run starts it.
func NewServer(cfg Config) *Server {
	return &Server{cfg: cfg, counts: make(map[Count]uint64), problems: make(map[string]problem), dhcp: "not started"}
}

// Status may be called at any time.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{DHCP: s.dhcp, Counts: maps.Clone(s.counts)}
	if v := s.view.Load(); v != nil {
		st.Generation = v.stamp.Generation
	}
	for key, p := range s.problems {
		if time.Since(p.last) > problemsFor {
			delete(s.problems, key)
			continue
		}
		st.Problems = append(st.Problems, p.text)
	}
	slices.Sort(st.Problems)
	return st
}

// Run serves until ctx ends. What can't be had yet, such as an address that isn't on
// its device, is tried again; nothing but ctx ends it.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.follow(ctx) })
	group.Go(func() error { return s.keep(ctx, s.wantHTTP) })
	group.Go(func() error { return s.keep(ctx, s.wantDHCP) })
	return group.Wait()
}

// follow keeps the view fresh.
func (s *Server) follow(ctx context.Context) error {
	l := looker{node: s.cfg.Node, pin: s.cfg.Pin, store: s.cfg.Store, fallback: s.cfg.Cluster}
	for {
		v, err := l.look(ctx)
		s.view.Store(v)
		if err != nil && ctx.Err() == nil {
			s.say("store", slog.LevelWarn, "the configuration store can't be served from", "error", err)
		}
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}

func (s *Server) wantHTTP() want {
	v := s.view.Load()
	if v == nil || v.self == nil {
		return want{}
	}
	var addrs []string
	for _, a := range []netip.Addr{v.self.Server.Address, v.self.Server.Address6} {
		if a.IsValid() {
			addrs = append(addrs, net.JoinHostPort(a.String(), strconv.Itoa(int(v.cluster.Delivery.ConfigPort))))
		}
	}
	return want{fmt.Sprint("HTTP on ", addrs), func(ctx context.Context) error { return s.serveHTTP(ctx, addrs) }}
}

// serveHTTP has one server on all of this director's addresses.
func (s *Server) serveHTTP(ctx context.Context, addrs []string) error {
	srv := &http.Server{
		Handler:           newAnswers(s),
		ReadHeaderTimeout: 3 * time.Second,
		ReadTimeout:       3 * time.Second,
		WriteTimeout:      time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	srv.SetKeepAlivesEnabled(false)
	group, gctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gctx, func() { srv.Close() })
	defer stop()
	for _, a := range addrs {
		ln, err := new(net.ListenConfig).Listen(gctx, "tcp", a)
		if err != nil {
			srv.Close()
			return errors.Join(fmt.Errorf("serve the configuration: %w", err), group.Wait())
		}
		group.Go(func() error {
			if err := srv.Serve(newGate(ln, func() { s.count(HTTPLimited) })); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	s.cfg.Log.Info("serving the configuration", "addresses", addrs)
	return group.Wait()
}

func (s *Server) wantDHCP() want {
	v := s.view.Load()
	if v == nil || v.self == nil {
		s.setDHCP("off: no cluster file names this director")
		return want{}
	}
	if why := noDHCP(v.cluster, v.self); why != "" {
		s.setDHCP("off: " + why)
		return want{}
	}
	if !s.cfg.Active() {
		s.setDHCP("off: this director isn't active")
		return want{}
	}
	s.setDHCP("on " + v.self.Server.Device)
	return want{fmt.Sprintf("DHCP %p", v), func(ctx context.Context) error { return s.serveDHCP(ctx, v) }}
}

func (s *Server) serveDHCP(ctx context.Context, v *view) error {
	device, from := v.self.Server.Device, v.self.Server.Addr(false)
	conn, index, err := listenDHCP(ctx, device)
	if err != nil {
		return err
	}
	ask := func(ctx context.Context, a netip.Addr) ([]net.HardwareAddr, error) {
		return probe(ctx, device, from, a)
	}
	return (&service{
		desk: newDesk(v.cluster, v.self, ask, s.note), device: device, conn: conn, index: index,
		active: s.cfg.Active, count: s.count, unknown: s.unknown,
	}).run(ctx)
}

func (s *Server) setDHCP(text string) {
	s.mu.Lock()
	changed := s.dhcp != text
	s.dhcp = text
	s.mu.Unlock()
	if changed {
		s.cfg.Log.Info("DHCP is " + text)
	}
}

func (s *Server) unknown(mac net.HardwareAddr, name string) {
	s.say("mac "+mac.String(), slog.LevelInfo, "DHCP: not a real server of this cluster, no answer",
		"mac", mac.String(), "name", name)
}

// note counts, and shows and logs a problem.
func (s *Server) note(c Count, key, text string) {
	s.count(c)
	if key != "" {
		s.problem(key, text)
	}
}

func (s *Server) count(c Count) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[c]++
}

func (s *Server) problem(key, text string) {
	s.mu.Lock()
	if len(s.problems) < 1000 {
		s.problems[key] = problem{text, time.Now()}
	}
	s.mu.Unlock()
	s.say(key, slog.LevelWarn, text)
}

// say logs a line, the same key's at most once a minute.
func (s *Server) say(key string, level slog.Level, text string, args ...any) {
	s.mu.Lock()
	may := s.said.may(key, time.Now())
	s.mu.Unlock()
	if may {
		s.cfg.Log.Log(context.Background(), level, text, args...)
	}
}

// sleep waits, and tells whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
