package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/doctor"
)

const labFarm = `cluster: shop
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.1}
  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254}
forwarding: {connections: 10000, workers: 2, state_file: STATE}
directors:
  - {name: eds1, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
realservers:
  - {name: eps1, address: 192.168.2.11}
  - {name: eps2, address: 192.168.2.12}
services:
  - name: web
    vip: 192.168.1.100
    ports: 80
    scheduler: rr
    check: {type: tcp, interval: 200ms, timeout: 200ms, rise: 1, fall: 2}
    servers: [{name: eps1}, {name: eps2}]
`

// farm is a director, two real servers and a client that is also both routers.
type labFarmNodes struct {
	t                *testing.T
	director, client *netlab.Node
	config, socket   string
}

func newLabFarm(t *testing.T) *labFarmNodes {
	lab := netlab.New(t)
	f := &labFarmNodes{t: t, director: lab.Node("eds1"), client: lab.Node("client")}
	dir := t.TempDir()
	f.config, f.socket = filepath.Join(dir, "cluster.yaml"), filepath.Join(dir, "fwd.sock")
	put(t, f.config, strings.Replace(labFarm, "STATE", filepath.Join(dir, "flows"), 1))
	clients, servers := lab.Switch("clients"), lab.Switch("servers")
	clients.Attach(f.client, "eth0", "192.168.1.1/24")
	clients.Attach(f.director, "eth0", "192.168.1.2/24")
	servers.Attach(f.client, "eth1", "192.168.2.254/24")
	servers.Attach(f.director, "eth1", "192.168.2.2/24")
	for i := 1; i <= 2; i++ {
		eps := lab.Node(fmt.Sprintf("eps%d", i))
		servers.Attach(eps, "eth0", fmt.Sprintf("192.168.2.1%d/24", i))
		eps.Sysctl("net.ipv4.conf.all.arp_ignore", "1")
		eps.Sysctl("net.ipv4.conf.all.arp_announce", "2")
		eps.Addr("lo", "192.168.1.100/32")
		eps.Route("default", "192.168.2.254")
		ln, err := eps.Listen("tcp", "192.168.1.100:80")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, eps.Name()) })}
		go func() { _ = s.Serve(ln) }()
		t.Cleanup(func() { _ = s.Close() })
	}
	return f
}

// command is svm-fwd on the director.
func (f *labFarmNodes) command(args ...string) *netlab.Cmd {
	exe, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	c := f.director.Command(context.Background(), exe, args...)
	c.Env = append(os.Environ(), asCommand+"=/etc", noRaceSleep)
	return c
}

func (f *labFarmNodes) start() *netlab.Cmd {
	f.t.Helper()
	c := f.command("--socket", f.socket, "run", "--config", f.config, "--node", "eds1")
	if err := c.Start(); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *labFarmNodes) status() (s control.Status) {
	out, err := f.command("list", "-j", "--socket", f.socket).Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		s.Role = err.Error()
	}
	return s
}

func (f *labFarmNodes) ready() {
	f.t.Helper()
	netlab.Eventually(f.t, 10*time.Second, func() bool {
		s := f.status()
		return s.Role == "active" && s.Services[0].Servers[0].State == "ready" && s.Services[0].Servers[1].State == "ready"
	}, "both servers are ready")
}

func (f *labFarmNodes) get(t *testing.T) string {
	t.Helper()
	r, err := f.client.FreshHTTPClient().Get("http://192.168.1.100/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRun: the daemon forwards, obeys, and leaves nothing behind; killed, it
// leaves what the next one takes over.
func TestRun(t *testing.T) {
	f := newLabFarm(t)
	routes := func() string {
		out, err := f.director.Command(t.Context(), "ip", "-4", "route").Output()
		if err != nil {
			t.Fatalf("ip -4 route (Debian: iproute2): %v", err)
		}
		rules, err := f.director.Command(t.Context(), "ip", "-4", "rule").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out) + string(rules)
	}
	before := routes()
	daemon := f.start()
	f.ready()
	got := map[string]int{}
	for range 6 {
		got[f.get(t)]++
	}
	if got["eps1"] != 3 || got["eps2"] != 3 {
		t.Errorf("served by %v, want three requests each", got)
	}
	if s := f.status(); s.Table.Used < 6 {
		t.Errorf("%d connections", s.Table.Used)
	}

	// A second daemon with the same socket or table must not come up.
	if out, err := f.command("run", "--config", f.config, "--node", "eds1", "--socket", f.socket).CombinedOutput(); err == nil {
		t.Errorf("a second daemon ran: %s", out)
	}
	f.get(t)

	put(t, f.config, strings.ReplaceAll(readFile(t, f.config), "{name: eps2}]", "{name: eps2, weight: 0}]"))
	if err := daemon.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	netlab.Eventually(t, 10*time.Second, func() bool { return f.status().Services[0].Servers[1].State == "drain" }, "the reload counts")
	for range 4 {
		if from := f.get(t); from != "eps1" {
			t.Errorf("served by %s, which has weight 0", from)
		}
	}

	// A connection goes on through a crash and a start.
	conn, err := f.client.Dial(t.Context(), "tcp", "192.168.1.100:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exchange := func() {
		t.Helper()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		if n, err := conn.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 200") {
			t.Fatalf("read %q, %v", b[:n], err)
		}
	}
	exchange()
	daemon.Kill()
	_ = daemon.Wait()
	if _, err := os.Lstat(f.socket); err != nil {
		t.Errorf("kill -9 took the socket along: %v", err)
	}
	put(t, f.config, strings.ReplaceAll(readFile(t, f.config), ", weight: 0", ""))
	daemon = f.start()
	f.ready()
	exchange()
	if s := f.status(); s.Table.Recovered == 0 {
		t.Error("no connection was recovered")
	}

	if err := daemon.Stop(10 * time.Second); err != nil {
		t.Errorf("svm-fwd run ended with %v", err)
	}
	if _, err := os.Lstat(f.socket); err == nil {
		t.Error("the socket is left")
	}
	if after := routes(); after != before {
		t.Errorf("routes and rules before\n%s\nafter\n%s", before, after)
	}
}

// TestDoctor examines a director's host with and without the daemon.
func TestDoctor(t *testing.T) {
	f := newLabFarm(t)
	examine := func() (levels map[string]doctor.Level, ok bool) {
		t.Helper()
		out, err := f.command("doctor", "--config", f.config, "--node", "eds1", "--socket", f.socket, "-j").Output()
		var found []doctor.Finding
		if e := json.Unmarshal(out, &found); e != nil {
			t.Fatalf("%v: %s", e, out)
		}
		levels = map[string]doctor.Level{}
		for _, x := range found {
			if levels[x.Topic] != doctor.Fail {
				levels[x.Topic] = x.Level
			}
		}
		return levels, err == nil
	}
	if levels, ok := examine(); !ok || levels["server"] != doctor.Warn || levels["device"] != doctor.OK {
		t.Errorf("without a daemon: %v, exit code 0: %v", levels, ok)
	}
	daemon := f.start()
	f.ready()
	if levels, ok := examine(); !ok || levels["server"] != doctor.OK || levels["vip"] != doctor.OK {
		t.Errorf("with a daemon: %v, exit code 0: %v", levels, ok)
	}
	put(t, f.config, strings.ReplaceAll(readFile(t, f.config), "192.168.2.12", "192.168.2.99"))
	if out, err := f.command("reload", "--socket", f.socket).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if levels, ok := examine(); ok || levels["server"] != doctor.Fail {
		t.Errorf("a server that isn't there: %v, exit code 0: %v", levels, ok)
	}
	f.director.LinkDown("eth1")
	out, err := f.command("doctor", "--config", f.config, "--node", "eds1", "--socket", f.socket).Output()
	if err == nil || !strings.Contains(string(out), "mend:       ip link set dev eth1 up\n") {
		t.Errorf("eth1 is down: %v\n%s", err, out)
	}
	f.director.LinkUp("eth1")
	if err := daemon.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
