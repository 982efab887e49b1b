// Package push delivers a generation over SSH: stage everywhere, then switch
// everywhere, confirm by health, or roll back. It has both ends: the station's
// coordinator and the receiver that a machine's sshd starts (restrict,command=).
//
// A client opens one SSH connection per machine. It uploads by SFTP (the receiver
// offers one directory, no other file) and gives one verb per session. What a verb
// answers is one JSON document on standard output, Answer; its progress, where it has
// any, are JSON lines of Event before that.
package push

import (
	"time"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// Verb is what a receiver is asked for.
type Verb string

const (
	Hello    Verb = "hello"    // who are you, what are you on
	Stage    Verb = "stage"    // GENERATION
	Switch   Verb = "switch"   // GENERATION
	Confirm  Verb = "confirm"  // GENERATION
	Rollback Verb = "rollback" // GENERATION
	Status   Verb = "status"   // hello, with health
	// Relay has a director give a verb to its real servers: relay VERB GENERATION [NODE...]
	Relay Verb = "relay"
)

// Step is where a machine is in a push.
type Step string

const (
	Waiting    Step = "waiting"
	Connecting Step = "connecting"
	Uploading  Step = "uploading"
	Staging    Step = "staging"
	Switching  Step = "switching"
	Confirming Step = "confirming"
	RollingBk  Step = "rolling back"
	WentBack   Step = "rolled back"
	Done       Step = "done"
	Skipped    Step = "skipped"
	Failed     Step = "failed"
)

// Event is a machine's progress.
type Event struct {
	Node  string `json:"node"`
	Step  Step   `json:"step"`
	Done  int64  `json:"done,omitempty"` // bytes
	Total int64  `json:"total,omitempty"`
	Error string `json:"error,omitempty"`
}

// Answer is what a receiver says last.
type Answer struct {
	OK     bool    `json:"ok"`
	Error  string  `json:"error,omitempty"`
	Cause  Cause   `json:"cause,omitempty"`
	Report *Report `json:"report,omitempty"`
	// Relayed are the real servers' answers, by node, of a relay.
	Relayed map[string]Answer `json:"relayed,omitempty"`
}

// Report is what a machine says of itself.
type Report struct {
	machine.State
	Version string    `json:"version"`
	Time    time.Time `json:"time"` // its clock
	Health  *Health   `json:"health,omitempty"`
}

// Health is how a machine does its work. On a real server only Problems and VIPs count.
type Health struct {
	Role     string    `json:"role,omitempty"`   // directors: active or backup
	Digest   string    `json:"digest,omitempty"` // directors: of the cluster file that the daemon forwards by
	Services []Service `json:"services,omitempty"`
	VIPs     []string  `json:"vips,omitempty"` // real servers: the addresses on lo
	Problems []string  `json:"problems,omitempty"`
}

// Service is one virtual service's backends.
type Service struct {
	Name     string    `json:"name"`
	Backends []Backend `json:"backends"`
}

// Backend is one real server of a service.
type Backend struct {
	Name        string `json:"name"`
	Weight      int    `json:"weight"`
	Up          bool   `json:"up"` // takes new connections
	Reason      string `json:"reason,omitempty"`
	Connections int    `json:"connections"`
}

// IsDirector tells whether the machine that reports is one.
func (r *Report) IsDirector() bool { return r.Kind == render.Director }
