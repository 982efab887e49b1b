package pair

import (
	"strings"
	"testing"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/ha"
)

// crash kills the active director and brings it back, with connections open.
func (r *rig) crash(t *testing.T, p *probe, l *load) {
	t.Helper()
	r.steady(t, func() []error {
		r.whole(t)
		if errs := l.transfer(t, 20, 20); errs != nil {
			return errs
		}
		at := r.kill(0)
		r.awaitRole(t, 1, ha.Active)
		errs := within(t, "kill -9", p.since(t, at), goalCrash)
		errs = append(errs, l.Finish("after kill -9")...)
		r.start(t, 0)
		r.settled(t, true)
		return append(errs, l.Finish("after the return")...)
	})
}

// TestVirtualMAC has the VIPs answered with the virtual router's address, which
// moves with the role.
func TestVirtualMAC(t *testing.T) {
	r := newRig(t, setup{ha: "mac: virtual"})
	const want = "00:00:5e:00:01:33" // VRID 51
	answers := func(when string) {
		t.Helper()
		out, err := r.Router1.Command(t.Context(), "ip", "neigh", "show", "dev", "eth1").Output()
		r.check(t, err)
		for _, fam := range farm.Both() {
			found := false
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, r.VIP(fam)+" ") {
					found = strings.Contains(line, want)
				}
			}
			if !found {
				t.Errorf("%s: the router does not know %s at %s:\n%s", when, r.VIP(fam), want, out)
			}
		}
	}
	l := r.open(t, 40, 0, 0)
	p := r.startProbe(t)
	answers("at first")
	r.crash(t, p, l)
	answers("after kill and return")
}

// TestUnicast lets the directors speak to each other's addresses only.
func TestUnicast(t *testing.T) {
	r := newRig(t, setup{ha: "unicast: true"})
	c := r.Station.Capture("eth0")
	defer c.Stop()
	l := r.open(t, 40, 0, 0)
	p := r.startProbe(t)
	r.crash(t, p, l)
	for _, f := range c.Frames() {
		if d := f.Data; len(d) > 34 && d[12] == 8 && d[23] == 112 && d[0]&1 == 1 || len(d) > 54 && d[12] == 0x86 && d[20] == 112 && d[0]&1 == 1 {
			t.Fatalf("an advertisement to a group: % x", d)
		}
	}
}

// TestWithoutKey is plain VRRPv3: the role moves, connections are not copied, and
// everybody says so.
func TestWithoutKey(t *testing.T) {
	r := newRig(t, setup{noKey: true})
	p := r.startProbe(t)
	for i := range 2 {
		s := r.pair(t, i)
		if s.HA.Authenticated || s.Sync != nil {
			t.Errorf("%s: %+v", r.EDS[i].Name(), s)
		}
		out, err := r.Forward(t.Context(), i, "ha", "show")
		r.check(t, err)
		for _, want := range []string{"NOT AUTHENTICATED", "svm-fwd genkey", "connections are not copied"} {
			if !strings.Contains(out, want) {
				t.Errorf("ha show does not say %q:\n%s", want, out)
			}
		}
		if log := r.daemons[i].Log(); !strings.Contains(log, "ha: no key") {
			t.Errorf("the log says nothing of the missing key:\n%s", log)
		}
	}
	// It may find fault with a machine of the lab: its exit code is not the point.
	out, _ := r.EDS[0].Command(t.Context(), r.Programs.FWD, "doctor", "--config", r.ClusterFile(), "--node", "eds1").Output()
	if !strings.Contains(string(out), "key_file") {
		t.Errorf("doctor says nothing of the missing key:\n%s", out)
	}
	at := r.kill(0)
	r.awaitRole(t, 1, ha.Active)
	g := p.since(t, at)
	t.Logf("without a key nobody hints at the end: %v", g)
	r.start(t, 0)
	r.settled(t, false)
}
