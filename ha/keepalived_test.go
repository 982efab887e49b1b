package ha

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
)

// keepalived is one of Debian's, in a namespace.
type keepalived struct {
	*netlab.Cmd
	t    *testing.T
	args []string
	node *netlab.Node
}

// interop is one way to speak with keepalived.
type interop struct {
	name     string
	v6       bool
	unicast  bool
	checksum Checksum // ours
	option   string   // of theirs
}

func (i interop) conf(priority int) string {
	vip, us, them := "192.0.2.100/32", "192.0.2.2", "192.0.2.1"
	if i.v6 {
		vip, us, them = "2001:db8::100/128", "2001:db8::2", "2001:db8::1"
	}
	uni := ""
	if i.unicast {
		uni = fmt.Sprintf("unicast_src_ip %s\nunicast_peer {\n%s\n}", us, them)
	}
	return fmt.Sprintf(`global_defs {
vrrp_version 3
vrrp_garp_master_refresh 0
}
vrrp_instance V {
state BACKUP
interface eth0
virtual_router_id 51
priority %d
advert_int 0.1
%s
%s
virtual_ipaddress {
%s
}
}
`, priority, uni, i.option, vip)
}

func startKeepalived(t *testing.T, n *netlab.Node, i interop, priority int) *keepalived {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(conf, []byte(i.conf(priority)), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &keepalived{t: t, node: n, args: []string{"-n", "-l", "-D", "-P", "-f", conf}}
	k.start()
	return k
}

func (k *keepalived) start() {
	k.t.Helper()
	dir := k.t.TempDir() // a killed one leaves its pid files
	args := append(slices.Clone(k.args), "-p", filepath.Join(dir, "pid"), "-r", filepath.Join(dir, "vrrp.pid"))
	k.Cmd = k.node.Start(context.Background(), "keepalived", args...)
}

// want waits until the last state that it logged is the one.
func (k *keepalived) want(state string) {
	k.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		log := k.Log()
		if i := strings.LastIndex(log, "Entering "); i >= 0 && strings.HasPrefix(log[i+9:], state) {
			return
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("keepalived is not %s:\n%s", state, log)
		}
		time.Sleep(5 * ms)
	}
}

func (i interop) ours(n *netlab.Node, priority uint8) Config {
	cfg := labConfig(n, "1", priority)
	cfg.Links = cfg.Links[:1]
	cfg.Checksum = i.checksum
	l := &cfg.Links[0]
	if i.v6 {
		cfg.VIPs, l.Addr4 = cfg.VIPs[1:], netip.Addr{}
	} else {
		cfg.VIPs, l.Addr6 = cfg.VIPs[:1], netip.Addr{}
	}
	if i.unicast {
		l.Peers = []netip.Addr{addr("192.0.2.2")}
		if i.v6 {
			l.Peers[0] = addr("2001:db8::2")
			cfg.AnyTTL = true // keepalived 2.2.7 sends IPv6 unicast with hop limit 64
		}
	}
	return cfg
}

// Against Debian's keepalived: each yields by priority, takes over when the
// other is killed, and at once when the other says goodbye.
func TestKeepalived(t *testing.T) {
	for _, i := range []interop{
		{name: "IPv4 multicast"},
		{name: "IPv4 unicast", unicast: true},
		{name: "IPv4 unicast, their old checksum", unicast: true, checksum: ChecksumGroup, option: "old_unicast_checksum"},
		{name: "IPv6 multicast", v6: true},
		{name: "IPv6 unicast", v6: true, unicast: true},
		{name: "IPv6 multicast, plain makes no difference", v6: true, checksum: ChecksumPlain},
	} {
		t.Run(i.name, func(t *testing.T) {
			lab := netlab.New(t)
			needTool(t, "keepalived")
			n := twoNetworks(lab, "1", "2")
			// Theirs is lower: it yields to ours, and takes over when ours crashes.
			k := startKeepalived(t, n[1], i, 100)
			k.want("MASTER")
			d := startIn(t, n[0], i.ours(n[0], 200))
			wantRole(t, d, true)
			k.want("BACKUP")
			d.crash(t)
			began := time.Now()
			k.want("MASTER")
			t.Logf("keepalived took over %v after our crash", time.Since(began))
			d.stop()
			// Ours comes back, and says goodbye.
			d = startIn(t, n[0], i.ours(n[0], 200))
			wantRole(t, d, true)
			k.want("BACKUP")
			began = time.Now()
			d.stop()
			k.want("MASTER")
			t.Logf("keepalived took over %v after our goodbye", time.Since(began))
			// Theirs is higher now: ours yields, takes over at its death, and yields again.
			d = startIn(t, n[0], i.ours(n[0], 50))
			if !poll(5*time.Second, func() bool { return d.Status().Received["ok"] > 3 }) {
				t.Fatalf("keepalived is not heard: %+v", d.Status())
			}
			if d.active.Load() {
				t.Error("priority 50 did not yield to 100")
			}
			k.Kill()
			began = time.Now()
			wantRole(t, d, true)
			t.Logf("we took over %v after keepalived was killed", time.Since(began))
			k.start()
			wantRole(t, d, false)
			k.want("MASTER")
			// Its goodbye.
			began = time.Now()
			if err := k.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			wantRole(t, d, true)
			t.Logf("we took over %v after keepalived's goodbye", time.Since(began))
			<-k.Done()
			s := d.Status()
			for reason, n := range s.Received {
				if reason != "ok" {
					t.Errorf("%d packets refused as %s", n, reason)
				}
			}
			for key, p := range s.Peers {
				if p.VIPsDiffer {
					t.Errorf("%s: the addresses differ", key)
				}
			}
			if strings.Contains(k.Log(), "Invalid VRRP") {
				t.Errorf("keepalived complains:\n%s", k.Log())
			}
		})
	}
}

// keepalived 2.2.7 does not take the plain IPv4 checksum (2.2.8 has
// v3_checksum_as_v2 for it): this is why it is not our default. It shows as two
// active directors, which we see and report.
func TestKeepalivedPlainChecksum(t *testing.T) {
	lab := netlab.New(t)
	needTool(t, "keepalived")
	n := twoNetworks(lab, "1", "2")
	k := startKeepalived(t, n[1], interop{}, 100)
	k.want("MASTER")
	d := startIn(t, n[0], interop{checksum: ChecksumPlain}.ours(n[0], 200))
	wantRole(t, d, true)
	netlab.Eventually(t, 5*time.Second, func() bool { return strings.Contains(k.Log(), "Invalid VRRPv3 checksum") },
		"keepalived takes the plain checksum: make the test above use it")
	netlab.Eventually(t, 5*time.Second, func() bool { return d.Status().Reports["split-brain"] == 1 }, "the split brain is not reported")
}
