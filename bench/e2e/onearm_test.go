package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/forwarder/control"
)

// TestOneArm has directors with one device, in the network of the real servers:
// requests go out where they came in.
func TestOneArm(t *testing.T) {
	r := newRig(t, farm.OneArm(), 2, func(r *rig) farm.Cluster {
		return farm.Cluster{HA: "announce: 1s", Services: r.WebServices("rr")}
	})
	t.Run("http", func(t *testing.T) {
		before := r.Router1.Counters("eth1").RxPackets
		var callers []*farm.Caller
		for _, fam := range farm.Both() {
			callers = append(callers, r.Caller(fam), r.Caller(fam))
		}
		l := startLoad(t, callers...)
		l.more(t, 200)
		l.stop(t)
		for _, n := range r.EPS {
			if l.byServer[n.Name()] == 0 {
				t.Errorf("%s served nothing", n.Name())
			}
		}
		if r.Router1.Counters("eth1").RxPackets-before < 200 {
			t.Error("the replies did not come through the router")
		}
	})
	t.Run("bulk", func(t *testing.T) {
		each(t, func(t *testing.T, fam farm.Family) {
			const size = 10 << 20
			if _, err := r.Caller(fam).Download(t.Context(), size); err != nil {
				t.Error(err)
			}
			if _, err := r.Caller(fam).Upload(t.Context(), size); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("frames", func(t *testing.T) {
		servers, stop := r.captureServers()
		defer stop()
		each(t, func(t *testing.T, fam farm.Family) {
			m := r.maker(t, fam, webVIP)
			for _, s := range m.tcpSamples() {
				t.Run(s.name, func(t *testing.T) { r.carried(t, servers, s) })
			}
		})
	})
	t.Run("crash", func(t *testing.T) {
		open := r.holdEach(t, 4, webVIP)
		r.kill()
		r.start(t)
		askAll(t, "after kill -9", open)
	})
	// Here the router asks all machines for the VIP, so a leak does the worst.
	t.Run("leak", func(t *testing.T) {
		n := r.EPS[1]
		for _, key := range []string{"net.ipv4.conf.all.arp_announce", "net.ipv4.conf.eth0.arp_announce"} {
			was := n.SysctlGet(key)
			n.Sysctl(key, "0")
			defer n.Sysctl(key, was)
		}
		n.Addr("eth0", r.VIP(4)+"/32")
		defer n.AddrDel("eth0", r.VIP(4)+"/32")
		c := r.Caller(4)
		r.await(t, "the conflict shows", func(s *control.Status) bool {
			forget(t, n)
			_, _, _ = c.Page(t.Context(), "/") // may end anywhere now
			return len(s.Conflicts) > 0
		})
		text, err := r.Forward(t.Context(), 0, "status")
		if want := fmt.Sprintf("CONFLICT: %s also answers for %s on eth0", n.MAC("eth0"), r.VIP(4)); err != nil || !strings.Contains(text, want) {
			t.Errorf("svm-fwd status: %v; no %q in\n%s", err, want, text)
		}
	})
	r.finish(t)
}
