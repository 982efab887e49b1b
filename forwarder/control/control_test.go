package control

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

const farm = `
cluster: shop
networks:
  client: {cidr: 192.168.1.0/24}
  server: {cidr: 192.168.2.0/24}
station: {address: 192.168.2.5}
directors:
  - {name: eds1, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
realservers:
  - {name: eps1, address: 192.168.2.11}
  - {name: eps2, address: 192.168.2.12}
  - {name: eps3, address: 192.168.2.13}
services:
  - name: web
    vip: 192.168.1.100
    ports: [80, 443]
    scheduler: rr
    servers: [{name: eps1}, {name: eps2}]
  - name: mail
    vip: 192.168.1.100
    ports: 25
    scheduler: rr
    servers: [{name: eps1}, {name: eps2}]
`

const web, mail = "192.168.1.100:80", "192.168.1.100:25"

func client(n int) string { return fmt.Sprintf("198.51.100.7:%d", 10000+n) }

// open opens connections and returns which server each one got.
func (d *director) open(n int, vip string) map[string]byte {
	d.t.Helper()
	got := map[string]byte{}
	for i := range n {
		got[client(i)] = d.connect(client(i), vip)
	}
	return got
}

// still checks that every connection's next segment goes where it went before.
func (d *director) still(conns map[string]byte, vip string) {
	d.t.Helper()
	for c, was := range conns {
		if is := d.send(c, vip, frame.ACK); is != was {
			d.t.Errorf("connection %s went to server %d, now to %d", c, was, is)
		}
	}
}

func TestRoundRobinOverTheFarm(t *testing.T) {
	d := newDirector(t, farm)
	for i, want := range []byte{11, 12, 11, 12} {
		if got := d.connect(client(i), web); got != want {
			t.Errorf("connection %d went to %d, want %d", i, got, want)
		}
	}
	if got := d.send(client(9), "192.168.1.100:81", frame.SYN); got != 0 {
		t.Errorf("port 81 is no service, yet its SYN went to %d", got)
	}
}

func TestReloadOfTheSameChangesNothing(t *testing.T) {
	d := newDirector(t, farm)
	d.connect(client(0), web) // eps1; the cursor stands before eps2
	snap := d.snap.Load()
	d.reset()
	r := d.reload("# a comment\n" + farm)
	if r.Changed || len(r.Changes) > 0 {
		t.Errorf("report %+v, want none", r)
	}
	if d.snap.Load() != snap || len(d.calls) > 0 {
		t.Errorf("the Snapshot or the outside was touched: %v", d.calls)
	}
	if got := d.connect(client(1), web); got != 12 {
		t.Errorf("round robin went on with %d, want 12", got)
	}
}

func TestReloadLeavesOtherConnectionsAlone(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(farm, old) {
			t.Fatalf("the farm has no %q", old)
		}
		return strings.Replace(farm, old, new, 1)
	}
	list := "servers: [{name: eps1}, {name: eps2}]"
	tests := []struct {
		name, text string
		gone       byte // the server that may lose its web connections
		say        string
	}{
		{"server added", change(list, "servers: [{name: eps1}, {name: eps2}, {name: eps3}]"), 0, "server eps3 added"},
		{"server added in front", change(list, "servers: [{name: eps3}, {name: eps1}, {name: eps2}]"), 0, "server eps3 added"},
		{"servers in another order", change(list, "servers: [{name: eps2}, {name: eps1}]"), 0, ""},
		{"server removed", change(list, "servers: [{name: eps1}]"), 12, "server eps2 removed"},
		{"weight", change(list, "servers: [{name: eps1, weight: 7}, {name: eps2}]"), 0, "server eps1 has weight 7, was 1"},
		{"quiesced", change(list, "servers: [{name: eps1, weight: 0}, {name: eps2}]"), 0, "weight 0, was 1"},
		{"scheduler", change("scheduler: rr", "scheduler: mh"), 0, "scheduler changed"},
		{"service renamed", change("name: web", "name: shop"), 0, "service web removed"},
		{"port added", change("ports: [80, 443]", "ports: [80, 443, 8080]"), 0, "ports changed"},
		{"first port removed", change("ports: [80, 443]", "ports: [79, 80, 443]"), 0, "ports changed"},
		{"other service removed", farm[:strings.Index(farm, "  - name: mail")], 0, "service mail removed"},
		{"service added", farm + "  - {name: dns, vip: 192.168.1.101, protocol: udp, ports: 53, servers: [{name: eps1}]}\n", 0, "service dns added"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDirector(t, farm)
			conns := d.open(20, web)
			r := d.reload(tt.text)
			if !r.Changed || !strings.Contains(strings.Join(r.Changes, "\n"), tt.say) {
				t.Errorf("report %v, want %q in it", r.Changes, tt.say)
			}
			maps.DeleteFunc(conns, func(_ string, server byte) bool { return server == tt.gone })
			d.still(conns, web)
		})
	}
}

func TestRemovedServerGetsNothingMore(t *testing.T) {
	d := newDirector(t, farm)
	conns := d.open(10, web)
	less := strings.Replace(farm, "servers: [{name: eps1}, {name: eps2}]", "servers: [{name: eps1}]", 1)
	d.reload(less)
	for c := range conns {
		if got := d.send(c, web, frame.ACK); got != 11 {
			t.Errorf("%s went to %d after eps2 left", c, got)
		}
	}
	d.reload(farm) // it comes back, but its old connections do not
	for c, was := range conns {
		if was == 12 {
			if got := d.send(c, web, frame.ACK); got != 11 {
				t.Errorf("%s went to %d, although it had been moved", c, got)
			}
		}
	}
}

func TestBadFileKeepsTheOldOne(t *testing.T) {
	d := newDirector(t, farm)
	conns := d.open(6, web)
	snap := d.snap.Load()
	d.write(strings.Replace(farm, "scheduler: rr", "scheduler: roundrobin", 1))
	if _, err := d.Reload(); err == nil || !strings.Contains(err.Error(), "cluster.yaml:") {
		t.Errorf("error %v, want one that names the place", err)
	}
	if d.snap.Load() != snap {
		t.Error("the Snapshot changed")
	}
	if s := d.Status(); s.Rejected == "" {
		t.Error("the status does not say that the file was refused")
	}
	d.still(conns, web)
	d.reload(farm)
	if s := d.Status(); s.Rejected != "" {
		t.Errorf("still said to be refused: %s", s.Rejected)
	}
}

func TestGuardThatFailsKeepsTheOldState(t *testing.T) {
	d := newDirector(t, farm)
	conns := d.open(6, web)
	snap, filter, digest := d.snap.Load(), d.outside.filter, d.Status().Digest
	d.guardErr = errors.New("a foreign route is in the way")
	d.write(farm + "  - {name: dns, vip: 192.168.1.101, protocol: udp, ports: 53, servers: [{name: eps1}]}\n")
	if _, err := d.Reload(); !errors.Is(err, d.guardErr) {
		t.Fatalf("error %v, want the guard's", err)
	}
	if d.snap.Load() != snap || !slices.Equal(d.outside.filter.Addrs, filter.Addrs) || len(d.outside.guarded.VIPs) != 1 || d.Status().Digest != digest {
		t.Error("something of the refused file is in force")
	}
	d.still(conns, web)
}

func TestHealthAndNeighboursDecideWhoGetsNewConnections(t *testing.T) {
	text := strings.Replace(farm, "    scheduler: rr\n", "    scheduler: rr\n    check: {type: tcp}\n", 1)
	d := newDirector(t, text)
	if got := d.send(client(0), web, frame.SYN); got != 0 {
		t.Errorf("a connection went to %d before any check had passed", got)
	}
	d.up["web/eps1"], d.up["web/eps2"] = true, true
	d.mu2(d.refresh)
	conns := d.open(4, web)
	d.up["web/eps2"] = false
	d.mu2(d.refresh)
	d.still(conns, web)
	for i := 10; i < 14; i++ {
		if got := d.connect(client(i), web); got != 11 {
			t.Errorf("a new connection went to %d while eps2 was down", got)
		}
	}
	s := d.Status().Services[0].Servers[1]
	if s.State != "down" || !strings.Contains(s.Why, "health check") {
		t.Errorf("state %q, why %q", s.State, s.Why)
	}
	d.up["web/eps2"] = true
	delete(d.macs, netip.MustParseAddr("192.168.2.12"))
	d.mu2(d.refresh)
	if s := d.Status().Services[0].Servers[1]; s.State != "unresolved" || !strings.Contains(s.Why, "192.168.2.12") {
		t.Errorf("state %q, why %q", s.State, s.Why)
	}
	for c, was := range conns {
		if got := d.send(c, web, frame.ACK); was == 12 && got != 0 {
			t.Errorf("a segment for a server without MAC address left for %d", got)
		}
	}
	if len(d.relearned) != 0 {
		t.Errorf("the kernel had to ask for %v before anything moved", d.relearned)
	}
	eps2 := netip.MustParseAddr("192.168.2.12")
	d.macs[eps2] = mac(99) // another card
	d.mu2(d.refresh)
	d.mu2(d.refresh)
	if !slices.Equal(d.relearned, []netip.Addr{eps2}) {
		t.Errorf("the kernel had to ask for %v, want %v once", d.relearned, eps2)
	}
	for c, was := range conns {
		if got := d.send(c, web, frame.ACK); was == 12 && got != 99 {
			t.Errorf("a segment left for %d, want the new MAC address", got)
		}
	}
}

func TestCutOff(t *testing.T) {
	text := strings.Replace(farm, "    scheduler: rr\n", "    scheduler: rr\n    check: {type: tcp, cut_off: true}\n", 1)
	d := newDirector(t, text)
	d.up["web/eps1"], d.up["web/eps2"] = true, true
	d.mu2(d.refresh)
	conns := d.open(4, web)
	d.up["web/eps2"] = false
	d.mu2(d.refresh)
	for c := range conns {
		if got := d.send(c, web, frame.ACK); got != 11 {
			t.Errorf("%s still goes to %d", c, got)
		}
	}
}

func TestOperatorsActions(t *testing.T) {
	d := newDirector(t, farm)
	conns := d.open(4, web)
	do := func(action string, weight int) {
		t.Helper()
		if err := d.Do(ServerAction{Service: "web", Server: "eps2", Action: action, Weight: weight}); err != nil {
			t.Fatal(err)
		}
	}
	next := 100
	share := func() (n12 int) {
		t.Helper()
		for range 10 {
			next++
			if d.connect(client(next), web) == 12 {
				n12++
			}
		}
		return n12
	}
	do("drain", 0)
	if n := share(); n != 0 {
		t.Errorf("a drained server got %d connections", n)
	}
	d.still(conns, web)
	if n := d.reload(farm + "# touched\n"); n.Changed {
		t.Error("a comment is no change")
	}
	do("ready", 0)
	if n := share(); n != 5 {
		t.Errorf("a ready server got %d of 10", n)
	}
	do("weight", 0)
	if n := share(); n != 0 {
		t.Errorf("a server of weight 0 got %d connections", n)
	}
	do("ready", 0)
	do("maint", 0)
	for c := range conns {
		if got := d.send(c, web, frame.ACK); got != 11 {
			t.Errorf("%s goes to %d during maintenance", c, got)
		}
	}
	for _, a := range []ServerAction{
		{Service: "wbe", Server: "eps1", Action: "drain"},
		{Service: "web", Server: "eps3", Action: "drain"},
		{Service: "web", Server: "eps1", Action: "kill"},
		{Service: "web", Server: "eps1", Action: "weight", Weight: -1},
		{Service: "web", Server: "eps1", Action: "weight", Weight: 65536},
	} {
		if err := d.Do(a); err == nil {
			t.Errorf("%+v was taken", a)
		}
	}
}

// A process that is killed leaves its table and registry; the next one goes on,
// whatever the scheduler, and counts what it took over.
func TestCrashAndRestart(t *testing.T) {
	d := newDirector(t, farm)
	conns := d.open(30, web)
	mails := map[string]byte{}
	for i := range 5 {
		mails[client(i)] = d.connect(client(i), mail)
	}
	_ = d.table.Close(false) // the kernel does this to a killed process
	// Meanwhile the file changed, too.
	d.write(strings.Replace(farm, "servers: [{name: eps1}, {name: eps2}]", "servers: [{name: eps3}, {name: eps2}, {name: eps1}]", 1))
	d.start()
	d.still(conns, web)
	d.still(mails, mail)
	for _, v := range d.Status().Services[0].Servers {
		if want := map[string]int64{"eps1": 15, "eps2": 15, "eps3": 0}[v.Name]; v.Active != want {
			t.Errorf("%s has %d active connections, want %d", v.Name, v.Active, want)
		}
	}
}

func TestRegistryOfAnotherTable(t *testing.T) {
	d := newDirector(t, farm)
	d.open(10, web)
	_ = d.table.Close(true) // the table is lost, the registry stays
	d.start()
	if n := d.table.Len(); n != 0 {
		t.Errorf("%d entries", n)
	}
	d.open(10, web)
}

func TestRoles(t *testing.T) {
	d := newDirector(t, farm)
	conns := d.open(6, web)
	d.reset()
	if err := d.SetRole(false); err != nil {
		t.Fatal(err)
	}
	if want := []string{"hush", "filter", "guard"}; !slices.Equal(d.calls, want) {
		t.Errorf("on the way down %v, want %v", d.calls, want)
	}
	if got := d.send(client(0), web, frame.ACK); got != 0 {
		t.Error("the backup forwards")
	}
	if len(d.outside.filter.Addrs) != 0 || len(d.outside.guarded.VIPs) != 0 {
		t.Error("the backup still receives or guards")
	}
	d.reset()
	if err := d.SetRole(true); err != nil {
		t.Fatal(err)
	}
	if want := []string{"guard", "filter", "announce"}; !slices.Equal(d.calls, want) {
		t.Errorf("on the way up %v, want %v", d.calls, want)
	}
	d.still(conns, web)
	d.reset()
	if err := d.SetRole(true); err != nil || len(d.calls) > 0 {
		t.Errorf("the same role again: %v, %v", err, d.calls)
	}
}

func TestConnectionsAreListed(t *testing.T) {
	d := newDirector(t, farm)
	d.connect(client(1), web)
	d.send(client(2), web, frame.SYN)
	got := map[string]Connection{}
	d.Connections(func(c Connection) bool { got[c.Source] = c; return true })
	a, b := got["198.51.100.7:10001"], got["198.51.100.7:10002"]
	if a.State != "ESTABLISHED" || a.Server != "192.168.2.11:80" || a.Name != "eps1" || a.Virtual != web || a.Protocol != "TCP" || a.Expires.Minutes() < 14 {
		t.Errorf("%+v", a)
	}
	if b.State != "SYN_RECV" || b.Name != "eps2" {
		t.Errorf("%+v", b)
	}
	d.now += flow.Tick(20 * 60 * 1000)
	d.Connections(func(c Connection) bool { t.Errorf("expired, yet listed: %+v", c); return true })
}

// A director that starts without a table finds the servers of a hashing scheduler's
// connections from its first packet on, before it has heard of any of them.
func TestHashIsWholeFromTheStart(t *testing.T) {
	text := strings.Replace(farm, "    scheduler: rr\n", "    scheduler: mh\n    flags: [mh-port]\n    check: {type: tcp}\n", 1)
	d := newDirector(t, text)
	d.up["web/eps1"], d.up["web/eps2"] = true, true
	d.mu2(d.refresh)
	conns := d.open(40, web)
	_ = d.table.Close(true)
	clear(d.up)
	macs := maps.Clone(d.macs)
	delete(d.macs, netip.MustParseAddr("192.168.2.12"))
	d.start()
	for c, was := range conns {
		if is := d.send(c, web, frame.ACK); is != was && is != 0 {
			t.Errorf("%s went to %d, now to %d", c, was, is)
		}
	}
	d.macs = macs
	d.mu2(d.refresh)
	d.still(conns, web)
	d.up["web/eps1"], d.up["web/eps2"] = true, false
	d.mu2(d.refresh)
	if got := d.connect("203.0.113.9:1", web); got != 11 {
		t.Errorf("a new connection went to %d, whose check fails", got)
	}
}
