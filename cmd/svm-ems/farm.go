package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

// pushPlan is how generation g gets to its machines.
func pushPlan(c *cli.Context, s *station.Station, g *station.Generation) (push.Plan, error) {
	conf, err := cluster.Parse("cluster.yaml", g.YAML)
	if err != nil {
		return push.Plan{}, fmt.Errorf("generation %d: %w", g.Stamp.Generation, err)
	}
	key, err := s.SSHKey()
	if err != nil {
		return push.Plan{}, err
	}
	// Today's, with machines that were enrolled since: they can be asked already.
	roster, err := s.Roster()
	if err != nil {
		return push.Plan{}, err
	}
	hosts, err := push.ParseHosts(push.HostLines(roster))
	if err != nil {
		return push.Plan{}, err
	}
	raw, sig, err := s.Bundle(g.Stamp.Generation)
	if err != nil {
		return push.Plan{}, err
	}
	return push.Plan{
		Cluster: conf, Stamp: g.Stamp, Bundle: raw, Signature: sig, Version: version(),
		SSH: push.SSH{Key: key, Hosts: hosts},
		Log: slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, nil
}

// heard is what one machine said of itself, and when.
type heard struct {
	push.Outcome
	// Skew is how far its clock is ahead of ours, give or take Within. It means nothing
	// where there is no report.
	Skew, Within time.Duration
}

// gather asks all machines of generation g how they are.
func gather(ctx context.Context, p push.Plan) []heard {
	w := &stopwatch{began: time.Now(), from: map[string]time.Time{}, to: map[string]time.Time{}}
	outcomes := push.Gather(ctx, p, w)
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]heard, len(outcomes))
	for i, o := range outcomes {
		all[i].Outcome = o
		if o.Report != nil {
			all[i].Skew, all[i].Within = w.skew(o.Node, o.Report.Time, o.Kind == render.Director)
		}
	}
	return all
}

// stopwatch notes when a machine was asked and when it had answered. Its clock was read
// somewhere between, most likely about the middle.
type stopwatch struct {
	began    time.Time
	mu       sync.Mutex
	from, to map[string]time.Time
}

// Event implements push.Progress.
func (w *stopwatch) Event(e push.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Step {
	case push.Done, push.Failed:
		w.to[e.Node] = time.Now()
	default:
		if w.from[e.Node].IsZero() {
			w.from[e.Node] = time.Now()
		}
	}
}

// skew compares a machine's clock with ours. News of those that aren't asked directly
// come late: only that all was asked after the beginning is certain.
func (w *stopwatch) skew(node string, clock time.Time, directly bool) (skew, within time.Duration) {
	from, to := w.from[node], w.to[node]
	if from.IsZero() || !directly {
		from = w.began
	}
	if to.IsZero() {
		to = time.Now()
	}
	within = to.Sub(from) / 2
	return clock.Sub(from.Add(within)), within
}
