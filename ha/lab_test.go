package ha

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// labDirector is a real runner in a namespace.
type labDirector struct {
	*Runner
	node   *netlab.Node
	active atomic.Bool
	since  atomic.Int64 // of the role, UnixNano
	cancel context.CancelFunc
	done   chan struct{}
}

// labConfig is director n on the two networks of twoNetworks.
func labConfig(n *netlab.Node, id string, priority uint8) Config {
	return Config{Node: n.Name(), VRID: 51, Priority: priority, Interval: 100 * ms, Preempt: true,
		Links: []Link{
			{Device: "eth0", Addr4: addr("192.0.2." + id), Addr6: addr("2001:db8::" + id)},
			{Device: "eth1", Addr4: addr("198.51.100." + id), Addr6: addr("2001:db8:1::" + id)},
		},
		VIPs: []netip.Addr{addr("192.0.2.100"), addr("2001:db8::100")}}
}

func twoNetworks(lab *netlab.Lab, ids ...string) (nodes []*netlab.Node) {
	client, server := lab.Switch("client"), lab.Switch("server")
	for _, id := range ids {
		n := lab.Node("eds" + id)
		client.Attach(n, "eth0", "192.0.2."+id+"/24", "2001:db8::"+id+"/64")
		server.Attach(n, "eth1", "198.51.100."+id+"/24", "2001:db8:1::"+id+"/64")
		nodes = append(nodes, n)
	}
	return nodes
}

func startIn(t *testing.T, n *netlab.Node, cfg Config) *labDirector {
	t.Helper()
	d := &labDirector{node: n, done: make(chan struct{})}
	cfg.OnRole = func(active bool) {
		d.since.Store(time.Now().UnixNano())
		d.active.Store(active)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Do(r.Open); err != nil {
		t.Fatal(err)
	}
	d.Runner = r
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() {
		defer close(d.done)
		if err := n.Do(func() error { return r.Run(ctx) }); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(d.stop)
	return d
}

func (d *labDirector) stop() { d.cancel(); <-d.done }

// crash ends a runner as kill -9 does: its sockets go silent.
func (d *labDirector) crash(t *testing.T) {
	err := d.do(func() { d.tr = mute{d.tr} })
	if err != nil {
		t.Error(err)
	}
}

type mute struct{ transport }

func (mute) send(int, netip.Addr, []byte) error { return nil }
func (m mute) linkUp(int) (bool, error)         { return true, nil }

func wantRole(t *testing.T, d *labDirector, active bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for d.active.Load() != active {
		if time.Now().After(deadline) {
			t.Fatalf("%s: active is %v: %+v", d.node.Name(), !active, d.Status())
		}
		time.Sleep(ms)
	}
}

func TestLabPair(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(c *Config, peer string)
	}{
		{"multicast", func(*Config, string) {}},
		{"multicast, plain checksum", func(c *Config, _ string) { c.Checksum = ChecksumPlain }},
		{"multicast, key", func(c *Config, _ string) { c.Key = testKey }},
		{"unicast", unicastTo},
		{"unicast, key, any TTL", func(c *Config, peer string) { unicastTo(c, peer); c.Key, c.AnyTTL = testKey, true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lab := netlab.New(t)
			n := twoNetworks(lab, "1", "2")
			c1, c2 := labConfig(n[0], "1", 200), labConfig(n[1], "2", 100)
			tt.edit(&c1, "2")
			tt.edit(&c2, "1")
			b := startIn(t, n[1], c2)
			wantRole(t, b, true)
			a := startIn(t, n[0], c1)
			wantRole(t, a, true)
			wantRole(t, b, false)
			netlab.Eventually(t, 5*time.Second, func() bool { return len(b.Status().Peers) == 4 }, "the peer is not heard on all 4 paths")
			a.crash(t)
			began := time.Now()
			wantRole(t, b, true)
			gap := time.Unix(0, b.since.Load()).Sub(began)
			t.Logf("taken over %v after the crash; the down interval is %v", gap, b.Status().DownInterval)
			if s := b.Status(); s.SendFailures != 0 || s.Received["bad-checksum"]+s.Received["bad-ttl"]+s.Received["wrong-destination"] != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func unicastTo(c *Config, peer string) {
	c.Links[0].Peers = []netip.Addr{addr("192.0.2." + peer), addr("2001:db8::" + peer)}
	c.Links[1].Peers = []netip.Addr{addr("198.51.100." + peer), addr("2001:db8:1::" + peer)}
}

func TestLabPlanned(t *testing.T) {
	lab := netlab.New(t)
	n := twoNetworks(lab, "1", "2")
	c1, c2 := labConfig(n[0], "1", 200), labConfig(n[1], "2", 100)
	c1.Key, c2.Key = testKey, testKey
	a := startIn(t, n[0], c1)
	wantRole(t, a, true)
	b := startIn(t, n[1], c2)
	netlab.Eventually(t, 5*time.Second, func() bool { return len(b.Status().Peers) == 4 && len(a.Status().Peers) == 4 }, "they do not hear each other")
	n[0].LinkDown("eth0")
	wantRole(t, b, true)
	wantRole(t, a, false)
	n[0].LinkUp("eth0")
	wantRole(t, a, true)
	wantRole(t, b, false)
	a.stop()
	wantRole(t, b, true) // it has spoken as the active one; its callback may be a moment later
	if a.active.Load() {
		t.Fatalf("after the shutdown: %+v", b.Status())
	}
	// That none is missing between them is asserted in TestRunnerPair, where time is exact.
	t.Logf("both forwarded for %v", time.Duration(a.since.Load()-b.since.Load()))
}

func TestLabTcpdump(t *testing.T) {
	lab := netlab.New(t)
	n := twoNetworks(lab, "1", "2")
	needTool(t, "tcpdump")
	needUsers(t)
	for _, key := range [][]byte{nil, testKey} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		dump := n[1].Start(ctx, "tcpdump", "-Z", "root", "-i", "eth0", "-l", "-n", "-vv", "-c", "8", "proto 112")
		netlab.Eventually(t, 5*time.Second, func() bool { return strings.Contains(dump.Log(), "listening on") }, "tcpdump does not start")
		cfg := labConfig(n[0], "1", 200)
		cfg.Key = key
		d := startIn(t, n[0], cfg)
		if err := dump.Wait(); err != nil {
			t.Fatal(err, dump.Log())
		}
		d.stop()
		cancel()
		out := dump.Log()
		for _, bad := range []string{"bad vrrp", "[|", "invalid", "cksum 0", "incorrect"} {
			if strings.Contains(out, bad) {
				t.Errorf("tcpdump complains (%q):\n%s", bad, out)
			}
		}
		for _, want := range []string{"VRRPv3, Advertisement, vrid 51, prio 200, intvl 10cs", "192.0.2.100", "2001:db8::100", "ttl 255", "hlim 255"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	}
}

func TestLabNotify(t *testing.T) {
	lab := netlab.New(t)
	n := twoNetworks(lab, "1")
	file := filepath.Join(t.TempDir(), "roles")
	flag := filepath.Join(t.TempDir(), "broken")
	posts := make(chan Notification, 10)
	srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var note Notification
		if err := json.NewDecoder(r.Body).Decode(&note); err != nil {
			t.Error(err)
		}
		posts <- note
	})}
	local, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(local)
	t.Cleanup(func() { srv.Close() })
	cfg := labConfig(n[0], "1", 200)
	cfg.Notify = Notify{Exec: []string{"/bin/sh", "-c", `echo "$SVM_ROLE $SVM_NODE $SVM_PRIORITY" >> ` + file}, URL: "http://" + local.Addr().String(), Timeout: 3 * time.Second}
	cfg.Scripts = []Script{
		{Name: "flag", Command: []string{"/bin/sh", "-c", "! test -e " + flag}, Interval: 50 * ms, Timeout: 2 * time.Second},
	}
	d := startIn(t, n[0], cfg)
	wantRole(t, d, true)
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRole(t, d, false)
	if s := d.Status(); s.Fault != "script flag" {
		t.Errorf("%+v", s)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	wantRole(t, d, true)
	d.stop()
	text, err := os.ReadFile(file)
	if lines := strings.Fields(string(text)); err != nil || len(lines) < 3 || !strings.HasSuffix(string(text), "backup eds1 200\n") {
		t.Errorf("%q, %v", text, err)
	}
	var last Notification
	for len(posts) > 0 {
		last = <-posts
	}
	if last.Role != "backup" || last.VRID != 51 || last.Node != "eds1" {
		t.Errorf("%+v", last)
	}
}

// A script that hangs, with children, is cut off, and a notification that hangs
// delays nothing.
func TestLabHangs(t *testing.T) {
	lab := netlab.New(t)
	n := twoNetworks(lab, "1")
	cfg := labConfig(n[0], "1", 200)
	cfg.Notify = Notify{Exec: []string{"/bin/sh", "-c", "sleep 1000 & sleep 1000"}, Timeout: 200 * ms}
	cfg.Scripts = []Script{{Name: "hangs", Command: []string{"/bin/sh", "-c", "sleep 1000 & sleep 1000"}, Timeout: 300 * ms, Interval: 100 * ms, Fall: 2, Delta: -50}}
	d := startIn(t, n[0], cfg)
	wantRole(t, d, true)
	netlab.Eventually(t, 10*time.Second, func() bool { return d.Status().Priority == 150 }, "the hanging script does not count")
	d.stop()
}

// A device that is taken away and made anew is used again, without a restart.
func TestLabDeviceReplaced(t *testing.T) {
	lab := netlab.New(t)
	sw := lab.Switch("lan")
	var n [2]*netlab.Node
	var d [2]*labDirector
	for i, id := range []string{"1", "2"} {
		n[i] = lab.Node("eds" + id)
		sw.Attach(n[i], "eth0", "192.0.2."+id+"/24", "2001:db8::"+id+"/64")
		cfg := labConfig(n[i], id, uint8(200-50*i))
		cfg.Links = cfg.Links[:1]
		d[i] = startIn(t, n[i], cfg)
	}
	wantRole(t, d[0], true)
	n[0].LinkDel("eth0")
	wantRole(t, d[1], true)
	wantRole(t, d[0], false)
	sw.Attach(n[0], "eth0", "192.0.2.1/24", "2001:db8::1/64")
	wantRole(t, d[0], true)
	wantRole(t, d[1], false)
	began := time.Now()
	netlab.Eventually(t, 5*time.Second, func() bool {
		fresh := 0
		for _, p := range d[1].Status().Peers {
			if p.Seen.After(began) {
				fresh++
			}
		}
		return fresh == 2
	}, "the new device does not carry both families")
}
