package ha

import (
	"net/netip"
	"slices"
	"time"
)

// Status is what `ha show` shows. Durations are nanoseconds in JSON.
type Status struct {
	Role           string            `json:"role"` // initialize, backup or active
	Why            string            `json:"why"`
	Since          time.Time         `json:"since"`
	VRID           uint8             `json:"vrid"`
	Configured     uint8             `json:"configured_priority"`
	Priority       uint8             `json:"priority"` // effective
	Released       bool              `json:"released"`
	Raised         bool              `json:"raised"`
	Leaving        bool              `json:"leaving"`
	Authenticated  bool              `json:"authenticated"`
	SyncReady      bool              `json:"sync_ready"`
	Interval       time.Duration     `json:"interval"`        // ours
	ActiveInterval time.Duration     `json:"active_interval"` // Active_Adver_Interval
	SkewTime       time.Duration     `json:"skew_time"`
	DownInterval   time.Duration     `json:"down_interval"`
	Fault          string            `json:"fault,omitempty"`
	Tracks         []TrackStatus     `json:"tracks"`
	Peers          map[string]Peer   `json:"peers"`    // by path and source, such as "eth0/IPv4 192.0.2.2"
	Received       map[string]uint64 `json:"received"` // packets by Reason
	Sent           uint64            `json:"sent"`
	SendFailures   uint64            `json:"send_failures"`
	Transitions    uint64            `json:"transitions"`
	Reports        map[string]uint64 `json:"reports"` // how many of each ReportKind
	LastReport     string            `json:"last_report,omitempty"`
}

// Peer is another director as it was last heard on one path.
type Peer struct {
	Seen          time.Time     `json:"seen"`
	Role          string        `json:"role"` // active, backup or leaving
	Priority      uint8         `json:"priority"`
	Interval      time.Duration `json:"interval"`
	Node          string        `json:"node,omitempty"` // canonical address, where authenticated
	VIPsDiffer    bool          `json:"vips_differ"`
	Authenticated bool          `json:"authenticated"`
}

// TrackStatus is one thing that is tracked.
type TrackStatus struct {
	Name  string `json:"name"`
	Delta int    `json:"delta"`
	Fault bool   `json:"fault"`
}

// maxShown bounds the peers that are remembered for display: without a key
// anyone on the wire can invent them.
const maxShown = 32

// Status returns a copy of the state; it never waits for Run.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.st
	s.Peers = make(map[string]Peer, len(r.st.Peers))
	for k, v := range r.st.Peers {
		s.Peers[k] = v
	}
	s.Reports = make(map[string]uint64, len(r.st.Reports))
	for k, v := range r.st.Reports {
		s.Reports[k] = v
	}
	s.Tracks = slices.Clone(r.st.Tracks)
	s.Received = r.counters.Snapshot()
	s.Sent, s.SendFailures = r.sent.Load(), r.sendFails.Load()
	return s
}

// show copies what the machine knows into the status.
func (r *Runner) show() {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.st
	s.Role, s.Why = r.m.state.String(), r.why
	s.Priority = r.m.Priority()
	s.Released, s.Raised, s.Leaving = r.m.Released(), r.m.Raised(), r.m.Leaving()
	s.SyncReady, s.Fault = r.m.sync, r.m.track.Fault
	s.ActiveInterval, s.SkewTime, s.DownInterval = r.m.Timers()
	for _, a := range r.m.out {
		if rep, ok := a.(Report); ok {
			s.LastReport = string(rep.Kind) + ": " + rep.Detail
		}
	}
}

func (r *Runner) setConfigured(p uint8) {
	r.mu.Lock()
	r.st.Configured = p
	r.mu.Unlock()
}

func (r *Runner) reportCount(k ReportKind) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.st.Reports[string(k)]
}

func (r *Runner) lastReport() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.st.LastReport
}

// seen notes a peer.
func (r *Runner) seen(path *path, src, node netip.Addr, a Advert) {
	p := Peer{Seen: time.Now(), Role: "active", Priority: a.Priority, Interval: a.Interval, Authenticated: node.IsValid()}
	if node.IsValid() {
		p.Node = node.String()
	}
	switch {
	case a.Hello:
		p.Role = "backup"
	case a.Priority == 0:
		p.Role = "leaving"
	}
	if !a.Hello {
		have := r.vips[0]
		if path.v6 {
			have = r.vips[1]
		}
		got := slices.SortedFunc(slices.Values(a.Addrs), netip.Addr.Compare)
		want := slices.SortedFunc(slices.Values(have), netip.Addr.Compare)
		p.VIPsDiffer = !slices.Equal(got, want)
	}
	key := path.name + " " + src.String()
	r.mu.Lock()
	before, known := r.st.Peers[key]
	if a.Hello {
		p.VIPsDiffer = before.VIPsDiffer
	}
	if !known && len(r.st.Peers) >= maxShown {
		r.dropOldest()
	}
	r.st.Peers[key] = p
	r.mu.Unlock()
	if p.VIPsDiffer && !before.VIPsDiffer {
		r.log.Warn("ha: the peer advertises other addresses than this director: compare the two cluster files",
			"path", path.name, "peer", src, "theirs", a.Addrs)
	}
}

func (r *Runner) dropOldest() {
	oldest := ""
	for k, p := range r.st.Peers {
		if oldest == "" || p.Seen.Before(r.st.Peers[oldest].Seen) {
			oldest = k
		}
	}
	delete(r.st.Peers, oldest)
}
