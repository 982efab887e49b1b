// Package doctor finds what on a director's host will break direct routing, and
// names for each the command that mends it. It changes nothing.
//
// Examine reads the host (read.go, features.go) and then judges what it read
// (the files with judge in them), which is a pure function.
package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
)

// Level is how bad a finding is.
type Level string

const (
	OK   Level = "ok"
	Warn Level = "warn" // works, but not as it could, or not in every case
	Fail Level = "fail" // forwarding will not work
)

// Finding is one thing that was looked at.
type Finding struct {
	Level Level  `json:"level"`
	Topic string `json:"topic"` // device, address, mtu, offload, ip_forward ...
	Text  string `json:"text"`
	// Remedy is the shell command that mends it where there is one, else words
	// that begin with '#'. Empty when nothing is wrong.
	Remedy string `json:"remedy,omitempty"`
}

// Missing is a real server that the running director can't find.
type Missing struct {
	Name    string
	Address netip.Addr
}

// Config says what to examine the host for.
type Config struct {
	Cluster *cluster.Cluster
	File    string // of the cluster, for the remedies
	Node    string // which of its directors this host is
	// Unresolved asks the running director for the real servers whose MAC address
	// it doesn't know. Nil, or an error: it could not be asked.
	Unresolved func(context.Context) ([]Missing, error)
}

// Examine looks at the host, in the network namespace of the calling thread, and
// returns what it found, the good news too. What can't be read is a finding as well.
func Examine(ctx context.Context, cfg Config) []Finding {
	me := cfg.Cluster.Director(cfg.Node)
	if me == nil {
		var names []string
		for _, d := range cfg.Cluster.Directors {
			names = append(names, d.Name)
		}
		return []Finding{{
			Fail, "node", fmt.Sprintf("%s has no director %q: it has %s", cfg.File, cfg.Node, strings.Join(names, ", ")),
			"# give --node one of these names",
		}}
	}
	h := read(cfg.Cluster, me)
	if cfg.Unresolved == nil {
		h.askErr = "nobody was asked"
	} else if missing, err := cfg.Unresolved(ctx); err != nil {
		h.askErr = err.Error()
	} else {
		h.missing = missing
	}
	return judge(&cfg, me, h)
}

// judge turns what was read into findings.
func judge(cfg *Config, me *cluster.Director, h *host) []Finding {
	r := &report{file: cfg.File}
	for _, err := range h.errs {
		r.warn("host", "# look at that first", "%s", err)
	}
	r.capabilities(h)
	client := r.device(h, "client", &me.Client, cfg.Cluster.Networks.Client, me.Name)
	server := r.device(h, "server", &me.Server, cfg.Cluster.Networks.Server, me.Name)
	r.mtu(client, server)
	r.offloads(client)
	vips := cfg.Cluster.VIPs()
	r.vips(h, vips)
	r.forwarding(h, vips)
	r.rpFilter(h, me)
	r.ipv6(h, me, vips)
	r.keyFile(h, cfg.Cluster)
	r.stateFile(h, &cfg.Cluster.Forwarding)
	r.servers(h)
	return r.findings
}

// report collects findings.
type report struct {
	file     string
	findings []Finding
}

func (r *report) ok(topic, format string, args ...any) {
	r.findings = append(r.findings, Finding{OK, topic, fmt.Sprintf(format, args...), ""})
}

func (r *report) warn(topic, remedy, format string, args ...any) {
	r.findings = append(r.findings, Finding{Warn, topic, fmt.Sprintf(format, args...), remedy})
}

func (r *report) fail(topic, remedy, format string, args ...any) {
	r.findings = append(r.findings, Finding{Fail, topic, fmt.Sprintf(format, args...), remedy})
}
