package control

import "time"

// The types of this file are what the runtime API speaks: JSON by these names,
// durations in nanoseconds, rates a second.

// Status is the director at a glance.
type Status struct {
	Version    string      `json:"version"`
	Node       string      `json:"node"`
	Cluster    string      `json:"cluster"`
	Digest     string      `json:"digest"` // of the cluster file in force
	Role       string      `json:"role"`   // active | backup
	Started    time.Time   `json:"started"`
	Configured time.Time   `json:"configured"` // when the file in force was taken over
	Rejected   string      `json:"rejected,omitempty"`
	Table      TableStatus `json:"table"`
	Services   []Service   `json:"services"`
	Timeouts   Timeouts    `json:"timeouts"`
	Workers    []Worker    `json:"workers"`
	Neighbours []Neighbour `json:"neighbours"`
	Conflicts  []Conflict  `json:"conflicts,omitempty"`
}

// TableStatus is how full the connection table is, in entries.
type TableStatus struct {
	Size          int    `json:"size"`
	Used          int    `json:"used"`
	HalfOpen      int    `json:"half_open"`
	HalfOpenBound int    `json:"half_open_bound"`
	StateFile     string `json:"state_file,omitempty"`
	Recovered     int    `json:"recovered"` // taken over from a former process at start
}

// Timeouts of idle connections that ipvsadm shows.
type Timeouts struct {
	TCP    time.Duration `json:"tcp"`
	TCPFin time.Duration `json:"tcp_fin"`
	UDP    time.Duration `json:"udp"`
}

// Traffic counts, since the daemon started.
type Traffic struct {
	Connections uint64 `json:"connections"`
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"`
}

// Rates are Traffic a second, averaged over a few seconds.
type Rates struct {
	Connections float64 `json:"connections"`
	Packets     float64 `json:"packets"`
	Bytes       float64 `json:"bytes"`
}

// Service is one virtual service.
type Service struct {
	Name        string        `json:"name"`
	VIP         string        `json:"vip"`
	Protocol    string        `json:"protocol"`
	Ports       string        `json:"ports"` // as in the cluster file: 80 | 80,443 | 8000-8999 | any
	FirstPort   uint16        `json:"first_port"`
	Scheduler   string        `json:"scheduler"`
	Flags       []string      `json:"flags,omitempty"`
	Persistence time.Duration `json:"persistence,omitempty"`
	Netmask     int           `json:"netmask,omitempty"`
	OnePacket   bool          `json:"one_packet,omitempty"`
	Traffic     Traffic       `json:"traffic"`
	Rates       Rates         `json:"rates"`
	Servers     []Server      `json:"servers"`
}

// Server is one backend.
type Server struct {
	Name       string  `json:"name"`
	Address    string  `json:"address"`
	MAC        string  `json:"mac,omitempty"`
	Weight     int     `json:"weight"`     // in force: configured or set at run time
	Configured int     `json:"configured"` // in the cluster file
	Upper      int     `json:"upper,omitempty"`
	Lower      int     `json:"lower,omitempty"`
	Active     int64   `json:"active"`
	Inactive   int64   `json:"inactive"`
	Traffic    Traffic `json:"traffic"`
	Rates      Rates   `json:"rates"`
	// State is ready, drain, maint, down, checking, unresolved or overloaded.
	State string `json:"state"`
	// Why says in words why the server gets no new connection, with the remedy;
	// empty when it does get some.
	Why string `json:"why,omitempty"`
	// Check is the last result of the health check, empty without one.
	Check string `json:"check,omitempty"`
	// Runtime is what an operator changed at run time, as the actions that do it again.
	Runtime []ServerAction `json:"runtime,omitempty"`
}

// Connection is one entry of the connection table.
type Connection struct {
	Protocol string        `json:"protocol"` // TCP | UDP, IP for templates and fragments
	Expires  time.Duration `json:"expires"`
	State    string        `json:"state"`
	Source   string        `json:"source"`      // address:port
	Virtual  string        `json:"virtual"`     // VIP:port
	Server   string        `json:"destination"` // real server's address:port
	Name     string        `json:"server"`      // its name
	Service  string        `json:"service,omitempty"`
}

// Worker is one receive queue.
type Worker struct {
	Received  uint64            `json:"received"`  // frames
	Dropped   uint64            `json:"dropped"`   // by the kernel, ring full
	Truncated uint64            `json:"truncated"` // longer than could be fetched
	Sent      uint64            `json:"sent"`
	Busy      uint64            `json:"busy"` // not sent: device queue full
	TooLong   uint64            `json:"too_long"`
	Errors    uint64            `json:"errors"`
	Replies   uint64            `json:"replies"`            // frames sent back to the client network by the director itself
	Reasons   map[string]uint64 `json:"reasons"`            // frames by forwarder.Reason
	Verdicts  map[string]uint64 `json:"verdicts,omitempty"` // frames by forwarder.Verdict
}

// Neighbour is a real server on the server network.
type Neighbour struct {
	Address  string    `json:"address"`
	MAC      string    `json:"mac,omitempty"`
	State    string    `json:"state"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	Changes  uint64    `json:"changes"`
}

// Conflict is another host that answered for a VIP.
type Conflict struct {
	VIP    string    `json:"vip"`
	MAC    string    `json:"mac"`
	Device string    `json:"device"`
	Count  uint64    `json:"count"`
	Last   time.Time `json:"last"`
}

// ReloadReport says what a reload did.
type ReloadReport struct {
	Changed bool     `json:"changed"`
	Changes []string `json:"changes,omitempty"` // in words: "service web: server eps3 added"
	// Restart names fields that changed but take effect at the next start only.
	Restart []string `json:"restart,omitempty"`
}

// ExplainRequest asks which backend a packet would get.
type ExplainRequest struct {
	Source      string `json:"src"` // address:port
	Destination string `json:"dst"`
	Protocol    string `json:"proto"` // tcp | udp
	// Flags are TCP flags by letter (S, A, F, R); empty means S.
	Flags string `json:"flags,omitempty"`
}

// Explanation answers it.
type Explanation struct {
	Verdict string   `json:"verdict"`
	Reason  string   `json:"reason"`
	Service string   `json:"service,omitempty"`
	Server  string   `json:"server,omitempty"`
	Address string   `json:"address,omitempty"`
	MAC     string   `json:"mac,omitempty"`
	State   string   `json:"state,omitempty"` // of the connection in the table, if it is there
	Steps   []string `json:"steps"`           // why, in the order of the decisions
}

// ServerAction is a change at run time.
type ServerAction struct {
	Service string `json:"service"`
	Server  string `json:"server"`
	Action  string `json:"action"` // drain | ready | maint | weight
	Weight  int    `json:"weight,omitempty"`
}
