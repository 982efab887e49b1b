package push

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/render"
)

// Plan is one push: one generation to all machines of its cluster.
type Plan struct {
	Cluster   *cluster.Cluster
	Stamp     render.Stamp
	Bundle    []byte // what bundle.Make made
	Signature []byte
	SSH       SSH    // with the station's key, and the hosts of the bundle's roster
	Version   string // of the station; machines of another one are warned of
	Policy    Policy
	// RequireUp makes a backend that is down a failure where nothing was up before, too:
	// a first push then waits until every service has one.
	RequireUp bool
	Times     Times
	Log       *slog.Logger
}

// Policy says what becomes of machines that can't be reached when the push begins.
// The zero Policy stops the push.
type Policy struct {
	Wait    time.Duration // for so long, first
	Skip    []string      // these are left alone, whatever is wrong with them
	SkipAll bool          // all that can't be reached are left alone
}

// Times bound a push. Zero fields have their defaults.
type Times struct {
	Step     time.Duration // of one verb on one machine, an upload and an activation included; 2 min
	Away     time.Duration // how long a machine that took part may be out of reach; 20 s
	Retry    time.Duration // pause between two tries; 1 s
	Watch    time.Duration // after the switch, before the farm's health counts: changed checks must have spoken; 0
	Health   time.Duration // until all machines must be well after Watch; 30 s
	Poll     time.Duration // pause between two looks at their health; 500 ms
	Rollback time.Duration // until all machines must be back; 60 s
}

func (t Times) filled() Times {
	t.Step = or(t.Step, 2*time.Minute)
	t.Away = or(t.Away, 20*time.Second)
	t.Retry = or(t.Retry, time.Second)
	t.Health = or(t.Health, 30*time.Second)
	t.Poll = or(t.Poll, 500*time.Millisecond)
	t.Rollback = or(t.Rollback, time.Minute)
	return t
}

// Progress gets what happens to machines. It is called serially and must not block for long.
type Progress interface{ Event(Event) }

// Ending of a push.
type Ending string

const (
	// Delivered: every machine that wasn't skipped has confirmed the generation.
	Delivered Ending = "delivered"
	// RolledBack: nothing has changed, or was changed back.
	RolledBack Ending = "rolled back"
	// Torn: machines could not be told to go back; Result.Machines names them. They are
	// wholly on one generation, and the next push brings them along.
	Torn Ending = "not all rolled back"
	// Unconfirmed: the generation rules everywhere, but machines have not confirmed it.
	// The next push does that.
	Unconfirmed Ending = "not all confirmed"
)

// Result is what a push did.
type Result struct {
	Stamp    render.Stamp
	Ending   Ending
	Machines []Outcome // directors first, each kind as in the cluster file
	Warnings []string
}

// Outcome is where the push left one machine.
type Outcome struct {
	Node   string
	Kind   render.Kind
	Step   Step    // Done, Skipped, Failed, WentBack, or Waiting: it heard nothing of the push
	Report *Report // the last one; nil if it never gave one
	Error  string
}

// node is one machine during a push. Its fields belong to whoever works on the machine;
// the coordinator never has two steps on one machine at a time.
type node struct {
	name   string
	kind   render.Kind
	at     Target // directors
	client *Client
	report *Report
	before *Report // the first one
	step   Step
	err    error
	// touched: it may have been told of this generation, so a failure must roll it back.
	touched bool
}

func (n *node) skipped() bool { return n.step == Skipped }

// on tells whether the machine rules by the generation.
func (n *node) on(s render.Stamp) bool {
	return n.report != nil && n.report.Current != nil && *n.report.Current == s
}

// confirmed tells whether the machine has confirmed the generation.
func (n *node) confirmed(s render.Stamp) bool { return n.on(s) && n.report.Confirmed >= s.Generation }

func (p *Plan) check() error {
	switch {
	case p.Cluster == nil || p.SSH.Key == nil || p.SSH.Hosts == nil || p.Log == nil:
		return errors.New("push: the plan is incomplete")
	case p.Stamp.Generation == 0 || p.Stamp.Cluster != p.Cluster.Name:
		return fmt.Errorf("push: generation %d of %q is not one of cluster %q", p.Stamp.Generation, p.Stamp.Cluster, p.Cluster.Name)
	case len(p.Bundle) == 0 || len(p.Bundle) > bundle.MaxBundle || len(p.Signature) > maxSig:
		return fmt.Errorf("push: a bundle has 1 to %d bytes, not %d", bundle.MaxBundle, len(p.Bundle))
	}
	for _, name := range p.Policy.Skip {
		if p.Cluster.Director(name) == nil && p.Cluster.RealServer(name) == nil {
			return fmt.Errorf("push: no machine of the cluster file is called %q", plain(name))
		}
	}
	return nil
}

// skips tells whether the policy lets a machine with that failure be left alone.
func (p *Policy) skips(name string, err error) bool {
	return slices.Contains(p.Skip, name) || p.SkipAll && CauseOf(err) == Unreachable
}

func names(nodes []*node) string {
	if len(nodes) > 5 {
		return fmt.Sprintf("%s and %d more", names(nodes[:5]), len(nodes)-5)
	}
	all := make([]string, len(nodes))
	for i, n := range nodes {
		all[i] = n.name
	}
	return strings.Join(all, ", ")
}
