package pair

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/ha"
)

// slack is what a loaded machine and the logs' time stamps may add to a role's time.
const slack = 50 * time.Millisecond

// mendedWithin is how long it may take until everything is as before: the old
// active may have to copy all connections first.
const mendedWithin = 3 * time.Second

// down is the down interval of the second director, of priority 100.
func down() time.Duration { return ha.ActiveDownInterval(100, interval) }

// cable is a way of cutting the first director off.
type cable struct {
	name  string
	ports func(*rig) []farm.Port // of the first director
	// carrier: its devices see it. Otherwise the switch drops frames, by these rules;
	// PORT is its port, OTHER that of the second director.
	carrier bool
	rules   []string
	// takes: the second director becomes active; deaf: while the first one is, too.
	takes, deaf bool
	// may: it may become active, when late advertisements are lost, too.
	may     bool
	adverts uint64 // how many the second one is to hear meanwhile, where it doesn't take over
}

func clientSide(r *rig) []farm.Port { return r.ClientPorts[:1] }
func serverSide(r *rig) []farm.Port { return r.ServerPorts[:1] }
func bothSides(r *rig) []farm.Port  { return []farm.Port{r.ClientPorts[0], r.ServerPorts[0]} }

var (
	dead   = []string{`iifname "PORT" drop`, `oifname "PORT" drop`}
	mute   = []string{`iifname "PORT" oifname "OTHER" drop`}
	hearsN = []string{`iifname "OTHER" oifname "PORT" drop`}
	lossy  = []string{`iifname "PORT" oifname "OTHER" numgen random mod 100 < 30 drop`, `iifname "OTHER" oifname "PORT" numgen random mod 100 < 30 drop`}
)

// TestCut cuts the active director's cables and mends them, with connections open.
// The roles keep their limits: nobody is active for at most the down interval and
// one more; two are for at most three intervals, once they can hear each other.
func TestCut(t *testing.T) {
	r := newRig(t, setup{})
	l := r.open(t, 100, 0, 0)
	p := r.startProbe(t)
	long := uint64(30)
	if os.Getenv("SVM_PAIR_RUNS") != "" {
		long = 300
	}
	for _, c := range []cable{
		{name: "carrier of the client side", ports: clientSide, carrier: true, takes: true},
		{name: "carrier of the server side", ports: serverSide, carrier: true, takes: true},
		{name: "carrier of both sides", ports: bothSides, carrier: true, takes: true, deaf: true},
		{name: "unseen, client side", ports: clientSide, rules: dead, adverts: 10},
		{name: "unseen, server side", ports: serverSide, rules: dead, adverts: 10},
		{name: "unseen, both sides", ports: bothSides, rules: dead, takes: true, deaf: true},
		{name: "the backup hears nothing", ports: bothSides, rules: mute, takes: true, deaf: true},
		{name: "the active hears nothing", ports: bothSides, rules: hearsN, adverts: 10},
		{name: "30 % loss between them", ports: bothSides, rules: lossy, adverts: long, may: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.carrier {
				tool(t, "nft")
			}
			r.steady(t, func() []error { return r.tryCut(t, c, l, p) })
		})
	}
}

// tryCut cuts and mends once, and returns what was not as promised.
func (r *rig) tryCut(t *testing.T, c cable, l *load, p *probe) (errs []error) {
	t.Helper()
	r.settled(t, true)
	if errs := l.transfer(t, 30, 30); errs != nil {
		return errs
	}
	began := time.Now()
	heal := r.cut(t, c)
	if c.takes {
		r.awaitRole(t, 1, ha.Active)
	} else {
		r.hears(t, 1, "ok", c.adverts)
	}
	if !c.deaf && c.takes {
		r.awaitRole(t, 0, ha.Backup)
	}
	if c.carrier { // elsewhere the cut itself may be the hole
		errs = within(t, "cut", p.since(t, began), down()+interval)
	}
	mended := time.Now()
	heal()
	r.settled(t, true)
	// The router must know soon whom to send to, whoever it heard last.
	if err := p.Reach(time.Now()); err != nil {
		errs = append(errs, err)
	}
	if took := time.Since(mended); took > mendedWithin {
		errs = append(errs, fmt.Errorf("traffic flowed %v after the cables were mended", took))
	}
	all := r.timeline()
	now := time.Now()
	none, both := reigns(all, began, now)
	t.Logf("nobody active for %v, both for %v", none, both)
	if limit := down() + interval + slack; none > limit {
		errs = append(errs, fmt.Errorf("nobody was active for %v, at most %v is allowed", none, limit))
	}
	if c.deaf {
		_, both = reigns(all, mended, now)
		t.Logf("both for %v once they could hear each other", both)
	}
	if limit := 3*interval + slack; both > limit {
		errs = append(errs, fmt.Errorf("both were active for %v, at most %v is allowed", both, limit))
	}
	if changed := slices.ContainsFunc(all, func(e role) bool { return e.at.After(began) }); changed && !c.takes && !c.may {
		errs = append(errs, errors.New("the role moved, though they could hear each other"))
	}
	return append(errs, l.Finish("after the cut")...)
}

// cut cuts and returns what mends.
func (r *rig) cut(t *testing.T, c cable) (heal func()) {
	t.Helper()
	ports := c.ports(r)
	if c.carrier {
		for _, p := range ports {
			p.Switch.Node().LinkDown(p.Name)
		}
		return func() {
			for _, p := range ports {
				p.Switch.Node().LinkUp(p.Name)
			}
		}
	}
	var switches []*netlab.Node
	for _, p := range ports {
		other := r.ClientPorts[1]
		if p.Switch == r.ServerPorts[1].Switch {
			other = r.ServerPorts[1]
		}
		var b strings.Builder
		b.WriteString("table bridge cut { chain forward { type filter hook forward priority 0;\n")
		for _, rule := range c.rules {
			fmt.Fprintln(&b, strings.NewReplacer("PORT", p.Name, "OTHER", other.Name).Replace(rule))
		}
		b.WriteString("}\n}\n")
		r.nft(t, p.Switch.Node(), b.String())
		switches = append(switches, p.Switch.Node())
	}
	return func() {
		for _, n := range switches {
			r.nft(t, n, "delete table bridge cut\n")
		}
	}
}

func (r *rig) nft(t *testing.T, n *netlab.Node, rules string) {
	t.Helper()
	c := n.Command(t.Context(), tool(t, "nft"), "-f", "-")
	c.Stdin = strings.NewReader(rules)
	r.check(t, c.Run())
}

// hears waits until the i-th director has heard so many more of a kind.
func (r *rig) hears(t *testing.T, i int, kind string, more uint64) {
	t.Helper()
	from := r.pair(t, i).HA.Received[kind]
	r.await(t, i, fmt.Sprintf("hears %d %s", more, kind), func(p *control.PairStatus) bool { return p.HA.Received[kind] >= from+more })
}
