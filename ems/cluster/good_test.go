package cluster

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func mustParse(t testing.TB, file string) *Cluster {
	t.Helper()
	c, err := Parse("cluster.yaml", []byte(file))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, file)
	}
	return c
}

// TestDefaults spells out what a file that says as little as possible means.
func TestDefaults(t *testing.T) {
	a := netip.MustParseAddr
	want := &Cluster{
		Name:     "shop",
		Topology: TwoRouter,
		HA: HA{VRID: 51, Interval: 100 * time.Millisecond, Preempt: true,
			MAC: InterfaceMAC, Announce: time.Minute, Checksum: PseudoHeader, CheckTTL: true, SyncPort: 8484,
			Track:  Track{Devices: true, Interval: 2 * time.Second, Timeout: time.Second, Penalty: 50},
			Notify: Notify{Timeout: 5 * time.Second}},
		Forwarding: Forwarding{Connections: 1_000_000, HalfOpen: 25, StateFile: "/run/svm/flows",
			Timeouts: Timeouts{Established: 15 * time.Minute, SynRecv: time.Minute, FinWait: 2 * time.Minute,
				TimeWait: 2 * time.Minute, Close: 10 * time.Second, UDP: 5 * time.Minute, Fragment: 30 * time.Second}},
		Delivery: Delivery{SSHUser: "svm-push", SSHPort: 22, ConfigPort: 8485, DHCP: true},
		Directors: []Director{{Name: "eds1", Priority: 100,
			Client: Interface{Device: "eth0", Address: a("10.0.1.2")},
			Server: Interface{Device: "eth1", Address: a("10.0.2.2")}}},
		RealServers: []RealServer{
			{Name: "eps1", Address: a("10.0.2.11"), Device: "eth0"},
			{Name: "eps2", Address: a("10.0.2.12"), Device: "eth0"}},
		Services: []Service{{Name: "web", VIP: a("10.0.1.100"), Protocol: TCP, Ports: Ports{{80, 80}}, Scheduler: "wlc",
			Check:   Check{Type: CheckNone, Path: "/", Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3},
			Servers: []Server{{Name: "eps1", Weight: 1}, {Name: "eps2", Weight: 1}}}},
	}
	if got := mustParse(t, base); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// TestDefault is that of a file, but for what a file must say.
func TestDefault(t *testing.T) {
	want := mustParse(t, base)
	got := Default()
	got.Name, got.Directors, got.RealServers, got.Services = want.Name, want.Directors, want.RealServers, want.Services
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// TestAccepted has one line for each thing that is legal and looks as if it
// might not be, with what it means.
func TestAccepted(t *testing.T) {
	const servers = "servers: [{name: eps1}, {name: eps2}]"
	in := func(extra string) []string { return []string{servers, extra + "\n    " + servers} }
	for _, c := range []struct {
		name string
		edit []string
		show func(*Cluster) any
		want string
	}{
		{"ports: one", []string{"ports: 80", "ports: 443"}, ports0, "[{443 443}]"},
		{"ports: list, sorted", []string{"ports: 80", "ports: [443, 80]"}, ports0, "[{80 80} {443 443}]"},
		{"ports: merged", []string{"ports: 80", "ports: [8000-8999, 80, 8999-9001, 9002, 80]"}, ports0, "[{80 80} {8000 9002}]"},
		{"ports: range", []string{"ports: 80", "ports: 8000-8999"}, ports0, "[{8000 8999}]"},
		{"ports: any", []string{"ports: 80", "ports: any"}, ports0, "[{1 65535}]"},
		{"ports: any by number", []string{"ports: 80", "ports: 1-65535"}, func(c *Cluster) any { return c.Services[0].Ports.Any() }, "true"},
		{"weights all zero", []string{servers, "servers: [{name: eps1, weight: 0}]"}, func(c *Cluster) any { return c.Services[0].Servers[0].Weight }, "0"},
		{"no servers", []string{servers, "servers: []"}, func(c *Cluster) any { return len(c.Services[0].Servers) }, "0"},
		{"empty check", in("check: {}"), func(c *Cluster) any { return fmt.Sprint(c.Services[0].Check.Type, " ", c.Services[0].Check.Port) }, "tcp 80"},
		{"check of the first port", []string{"ports: 80", "ports: [443, 81]\n    check: {}"}, func(c *Cluster) any { return c.Services[0].Check.Port }, "81"},
		{"check faster than its default timeout", in("check: {interval: 200ms}"), func(c *Cluster) any { return c.Services[0].Check.Timeout }, "200ms"},
		{"ping of any port", []string{"ports: 80", "ports: any\n    check: {type: ping}"}, func(c *Cluster) any { return c.Services[0].Check.Port }, "0"},
		{"http check of udp with a port", in("protocol: udp\n    check: {type: http, port: 8080}"), func(c *Cluster) any { return c.Services[0].Check.Port }, "8080"},
		{"status: one", in("check: {type: http, status: 204}"), status0, "[204]"},
		{"status: list", in("check: {type: http, status: [204, 200, 204]}"), status0, "[200 204]"},
		{"status: range", in("check: {type: http, status: [200-202, 401]}"), status0, "[200 201 202 401]"},
		{"status: the default", in("check: {type: http, status: 200-399}"), status0, "[]"},
		{"command", in("check: {type: exec, command: [/bin/check, -p, 80]}"), func(c *Cluster) any { return c.Services[0].Check.Command }, "[/bin/check -p 80]"},
		{"bytes to send", in(`check: {send: "GET / HTTP/1.0\r\n\r\n", expect: "200 OK"}`), func(c *Cluster) any { return fmt.Sprintf("%q", c.Services[0].Check.Send) }, `"GET / HTTP/1.0\r\n\r\n"`},
		{"IPVS's names of a flag", in("scheduler: sh\n    flags: [sh-port, sh-fallback, fallback]"), func(c *Cluster) any { return c.Services[0].Flags }, "[fallback sh-port]"},
		{"an Ethernet address in another style", []string{"address: 10.0.2.11", "address: 10.0.2.11, mac: 52-54-00-AB-cd-0E"},
			func(c *Cluster) any { return c.RealServers[0].MAC }, "52:54:00:ab:cd:0e"},
		{"an Ethernet address of digits", []string{"address: 10.0.2.11", "address: 10.0.2.11, mac: 52:54:00:12:34:56"},
			func(c *Cluster) any { return c.RealServers[0].MAC }, "52:54:00:12:34:56"},
		{"delivery", []string{"cluster: shop", "cluster: shop\ndelivery: {ssh_user: root, ssh_port: 2222, config_port: 22, dhcp: false}"},
			func(c *Cluster) any { return c.Delivery }, "{root 2222 22 false}"},
		{"a flag as a word", in("scheduler: mh\n    flags: mh-port"), func(c *Cluster) any { return c.Services[0].Flags }, "[mh-port]"},
		{"persistence, empty", in("persistence: {}"), func(c *Cluster) any { return c.Services[0].Persistence }, "{5m0s 32}"},
		{"persistence, IPv6", []string{"vip: 10.0.1.100", "vip: fd00::100\n    persistence: {timeout: 1h}"}, func(c *Cluster) any { return c.Services[0].Persistence }, "{1h0m0s 128}"},
		{"IPv6 VIP without a check", []string{"vip: 10.0.1.100", "vip: fd00::100"}, func(c *Cluster) any { return c.VIPs() }, "[fd00::100]"},
		{"IPv6 VIP with a check", []string{"vip: 10.0.1.100", "vip: fd00::100\n    check: {}",
			"address: 10.0.2.11", `address: 10.0.2.11, address6: "fd00::11"`, "address: 10.0.2.12", `address: "fd00::12"`},
			func(c *Cluster) any { return c.RealServers[1].Addr(true) }, "fd00::12"},
		{"one port, two protocols", []string{servers, servers + "\n  - {name: dns, protocol: udp, vip: 10.0.1.100, ports: 80, servers: []}"},
			func(c *Cluster) any { return len(c.VIPs()) }, "1"},
		{"two VIPs, sorted", []string{servers, servers + "\n  - {name: web2, vip: 10.0.1.99, ports: 80, servers: []}"},
			func(c *Cluster) any { return c.VIPs() }, "[10.0.1.99 10.0.1.100]"},
		{"ranges that touch", []string{"ports: 80", "ports: 80-89", servers, servers + "\n  - {name: web2, vip: 10.0.1.100, ports: 90-99, servers: []}"},
			func(c *Cluster) any { return c.Service("web2").Ports }, "[{90 99}]"},
		{"a name that is a number", []string{"cluster: shop", "cluster: 2024"}, func(c *Cluster) any { return c.Name }, "2024"},
		{"equal priorities", []string{"realservers:", "  - {name: eds2, client: {device: eth0, address: 10.0.1.3}, server: {device: eth1, address: 10.0.2.3}}\nrealservers:"},
			func(c *Cluster) any { return c.Director("eds2").Priority }, "100"},
		{"one arm", []string{"cluster: shop", "cluster: shop\nnetworks:\n  client: {cidr: 10.0.0.0/16, gateway: 10.0.0.1}\n  server: {cidr: 10.0.0.0/16, gateway: 10.0.0.1}",
			"server: {device: eth1, address: 10.0.2.2}", "server: {device: eth0, address: 10.0.1.2}"},
			func(c *Cluster) any { return c.Directors[0].Server.Address }, "10.0.1.2"},
		{"vip outside the client network", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: 10.0.1.0/28}}"},
			func(c *Cluster) any { return c.Services[0].VIP }, "10.0.1.100"},
		{"no network of the address's family", []string{"cluster: shop", `cluster: shop` + "\n" + `networks: {client: {cidr: "fd00::/64"}}`},
			func(c *Cluster) any { return c.Networks.Client.CIDR }, "fd00::/64"},
		{"a network of two addresses", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: 10.0.1.2/31, gateway: 10.0.1.3}}"},
			func(c *Cluster) any { return c.Networks.Client.Gateway }, "10.0.1.3"},
		{"memory only", []string{"cluster: shop", "cluster: shop\nforwarding: {state_file: none}"}, func(c *Cluster) any { return c.Forwarding.StateFile }, "none"},
		{"byte order mark", []string{"cluster: shop", "\ufeffcluster: shop"}, func(c *Cluster) any { return c.Name }, "shop"},
		{"lines of DOS", []string{"cluster: shop\n", "cluster: shop\r\n"}, func(c *Cluster) any { return c.Name }, "shop"},
		{"an anchor nobody uses", []string{servers, "servers: &all [{name: eps1}]"}, func(c *Cluster) any { return len(c.Services[0].Servers) }, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mustParse(t, edited(t, c.edit...))
			if s := fmt.Sprint(c.show(got)); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
			roundTrip(t, got)
		})
	}
}

func ports0(c *Cluster) any  { return c.Services[0].Ports }
func status0(c *Cluster) any { return c.Services[0].Check.Status }

// roundTrip writes the cluster and reads it again.
func roundTrip(t testing.TB, c *Cluster) {
	t.Helper()
	again := mustParse(t, string(c.YAML()))
	if !reflect.DeepEqual(c, again) {
		t.Errorf("written and read again:\n%+v\nbecame\n%+v\nthrough\n%s", c, again, c.YAML())
	}
	if c.Digest() != again.Digest() {
		t.Error("the digest changed")
	}
	if text := mustParse(t, string(c.Text())); !reflect.DeepEqual(c, text) {
		t.Errorf("written line by line and read again:\n%+v\nbecame\n%+v\nthrough\n%s", c, text, c.Text())
	}
}

func TestText(t *testing.T) {
	const want = "cluster: shop\n" +
		"directors:\n  - {name: eds1, client: {device: eth0, address: 10.0.1.2}, server: {device: eth1, address: 10.0.2.2}}\n" +
		"realservers:\n  - {name: eps1, address: 10.0.2.11}\n  - {name: eps2, address: 10.0.2.12}\n" +
		"services:\n  - {name: web, vip: 10.0.1.100, ports: [80], servers: [{name: eps1}, {name: eps2}]}\n"
	if got := string(mustParse(t, base).Text()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNoServices(t *testing.T) {
	file := base[:strings.Index(base, "realservers:")]
	c := mustParse(t, file)
	if len(c.RealServers)+len(c.Services)+len(c.VIPs()) != 0 {
		t.Errorf("got %+v", c)
	}
	roundTrip(t, c)
}

func TestLookup(t *testing.T) {
	c := mustParse(t, base)
	if c.Director("eds1") != &c.Directors[0] || c.RealServer("eps2") != &c.RealServers[1] || c.Service("web") != &c.Services[0] {
		t.Error("a name leads elsewhere")
	}
	if c.Director("eps1") != nil || c.RealServer("web") != nil || c.Service("") != nil {
		t.Error("an unknown name leads somewhere")
	}
}
