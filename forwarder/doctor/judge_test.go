package doctor

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/cluster"
)

const farm = `cluster: shop
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.1, cidr6: 2001:db8:1::/64}
  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254, cidr6: 2001:db8:2::/64}
ha: {key_file: /etc/svm/ha.key}
directors:
  - name: eds1
    priority: 200
    client: {device: eth0, address: 192.168.1.2, address6: "2001:db8:1::2"}
    server: {device: eth1, address: 192.168.2.2, address6: "2001:db8:2::2"}
realservers:
  - {name: eps1, address: 192.168.2.11, address6: "2001:db8:2::11", device: eth0}
services:
  - {name: web, vip: 192.168.1.100, protocol: tcp, ports: 80, servers: [{name: eps1, weight: 1}]}
  - {name: web6, vip: "2001:db8:1::100", protocol: tcp, ports: 80, servers: [{name: eps1, weight: 1}]}
`

func parse(t *testing.T, text string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Parse("cluster.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// healthy is a host on which nothing is wrong.
func healthy() *host {
	return &host{
		links: []link{
			{name: "lo", kind: "loopback", mtu: 65536, up: true, carrier: true, addresses: prefixes("127.0.0.1/8", "::1/128")},
			{name: "eth0", kind: "ether", mtu: 1500, up: true, carrier: true, addresses: prefixes("192.168.1.2/24", "2001:db8:1::2/64"), features: []string{"rx-gro"}},
			{name: "eth1", kind: "ether", mtu: 1500, up: true, carrier: true, addresses: prefixes("192.168.2.2/24", "2001:db8:2::2/64")},
		},
		sysctls: map[string]string{
			"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0", "net/ipv4/conf/all/rp_filter": "1",
			"net/ipv6/conf/eth0/disable_ipv6": "0",
		},
		caps:  1<<capNetRaw | 1<<capNetAdmin,
		key:   keyState{mode: 0o600, digits: true},
		state: stateDir{mount: "/run", tmpfs: true, size: 4 << 30, free: 1 << 30},
	}
}

func TestJudge(t *testing.T) {
	conf := parse(t, farm)
	for _, tt := range []struct {
		name   string
		harm   func(*host)
		want   []string // "level topic: remedy" of all that isn't ok
		saying string
	}{
		{name: "nothing wrong", harm: func(*host) {}},
		{"no client device", func(h *host) { h.links[1].name = "enp3s0" },
			[]string{"fail device: # write the right name at directors[eds1].client.device in c.yaml"}, "this host has lo, enp3s0, eth1"},
		{"device down", func(h *host) { h.links[2].up, h.links[2].carrier = false, false },
			[]string{"fail device: ip link set dev eth1 up"}, "eth1 is down"},
		{"no cable", func(h *host) { h.links[1].carrier = false },
			[]string{"fail device: # plug the cable of eth0 in, or switch the port on: ip link show dev eth0"}, "no carrier"},
		{"a tunnel", func(h *host) { h.links[1].kind = "none" },
			[]string{"fail device: # write an Ethernet device at directors[eds1].client.device in c.yaml"}, "no Ethernet device"},
		{"address missing", func(h *host) { h.links[1].addresses = prefixes("192.168.1.3/24", "2001:db8:1::2/64") },
			[]string{"fail address: ip addr add 192.168.1.2/24 dev eth0"}, "is not on eth0"},
		{"IPv6 address on the other device", func(h *host) {
			h.links[1].addresses = prefixes("192.168.1.2/24")
			h.links[2].addresses = append(h.links[2].addresses, prefixes("2001:db8:1::2/64")...)
		}, []string{"fail address: ip addr add 2001:db8:1::2/64 dev eth0"}, "but on eth1"},
		{"server device too narrow", func(h *host) { h.links[2].mtu = 1400 },
			[]string{"fail mtu: ip link set dev eth1 mtu 1500"}, "eth1 takes 1400"},
		{name: "server device wider", harm: func(h *host) { h.links[2].mtu = 9000 }},
		{"LRO", func(h *host) { h.links[1].features = []string{"rx-lro", "rx-gro"} },
			[]string{"warn offload: ethtool -K eth0 lro off"}, "can't be taken apart"},
		{"fraglist GRO", func(h *host) { h.links[1].features = []string{"rx-gro", "rx-gro-list"} },
			[]string{"warn offload: ethtool -K eth0 rx-gro-list off"}, "rx-gro-list on"},
		{name: "LRO on the server device", harm: func(h *host) { h.links[2].features = []string{"rx-lro"} }},
		{"offloads unknown", func(h *host) { h.links[1].featuresErr = "no such thing" },
			[]string{"warn offload: # ethtool -k eth0 must show large-receive-offload: off"}, "no such thing"},
		{"VIP on lo", func(h *host) { h.links[0].addresses = append(h.links[0].addresses, prefixes("192.168.1.100/32")...) },
			[]string{"fail vip: ip addr del 192.168.1.100/32 dev lo"}, "on lo"},
		{"VIP on lo, with its local route", func(h *host) {
			h.links[0].addresses = append(h.links[0].addresses, prefixes("192.168.1.100/32")...)
			h.routes = []route{{dst: netip.MustParsePrefix("192.168.1.100/32"), kind: "local", device: "lo", protocol: 2, localOnly: true}}
		}, []string{"fail vip: ip addr del 192.168.1.100/32 dev lo"}, ""},
		{"IPv6 VIP on eth1", func(h *host) { h.links[2].addresses = append(h.links[2].addresses, prefixes("2001:db8:1::100/64")...) },
			[]string{"fail vip: ip addr del 2001:db8:1::100/64 dev eth1"}, ""},
		{"a whole network is local", func(h *host) {
			h.routes = []route{{dst: netip.MustParsePrefix("192.168.1.0/24"), kind: "local", device: "lo", protocol: 3, localOnly: true}}
		}, []string{"fail route: ip route del local 192.168.1.0/24 dev lo table local"}, ""},
		{"foreign routes", func(h *host) {
			h.routes = []route{
				{dst: netip.MustParsePrefix("192.168.1.100/32"), kind: "unicast", via: "192.168.2.254", device: "eth1", protocol: 3},
				{dst: netip.MustParsePrefix("2001:db8:1::100/128"), kind: "blackhole", metric: 1024, protocol: 4},
			}
		}, []string{
			"fail route: ip route del 192.168.1.100/32 via 192.168.2.254 dev eth1",
			"fail route: ip -6 route del blackhole 2001:db8:1::100/128 metric 1024",
		}, "in the way"},
		{name: "our own route", harm: func(h *host) {
			h.routes = []route{{dst: netip.MustParsePrefix("192.168.1.100/32"), kind: "blackhole", protocol: ownProtocol}}
		}},
		{"a router", func(h *host) { h.sysctls["net/ipv4/ip_forward"] = "1" },
			[]string{"warn ip_forward: sysctl -w net.ipv4.ip_forward=0"}, ""},
		{"an IPv6 router", func(h *host) { h.sysctls["net/ipv6/conf/all/forwarding"] = "1" },
			[]string{"warn ip_forward: sysctl -w net.ipv6.conf.all.forwarding=0"}, ""},
		{"no IPv6", func(h *host) { h.sysctls["net/ipv6/conf/eth0/disable_ipv6"] = "1" },
			[]string{"fail ipv6: sysctl -w net.ipv6.conf.eth0.disable_ipv6=0"}, ""},
		{"no CAP_NET_RAW", func(h *host) { h.caps = 1 << capNetAdmin },
			[]string{`fail capability: setcap cap_net_raw,cap_net_admin+ep "$(command -v svm-fwd)"`}, "CAP_NET_RAW"},
		{"no capabilities", func(h *host) { h.caps = 0 },
			[]string{`fail capability: setcap cap_net_raw,cap_net_admin+ep "$(command -v svm-fwd)"`}, "CAP_NET_RAW (to receive and send frames) and CAP_NET_ADMIN"},
		{"unresolved server", func(h *host) { h.missing = []Missing{{"eps1", netip.MustParseAddr("192.168.2.11")}} },
			[]string{"fail server: ping -c 3 192.168.2.11"}, "eps1"},
		{"no daemon", func(h *host) { h.askErr = "no socket" },
			[]string{"warn server: # start svm-fwd, then ask again"}, "could not be checked: no socket"},
		{"no key", func(h *host) { h.key = keyState{missing: true} },
			[]string{"fail key_file: (umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > /etc/svm/ha.key) # then copy it to the other director"}, ""},
		{"key for all", func(h *host) { h.key.mode = 0o644 },
			[]string{"fail key_file: chmod 0600 /etc/svm/ha.key"}, ""},
		{"no disk wanted", func(h *host) { h.state = stateDir{mount: "/", size: 1 << 40, free: 1 << 39} },
			[]string{"warn state_file: mkdir -p /run/svm && mount -t tmpfs -o mode=0755,size=111M svm /run/svm"}, "on a disk"},
		{"small tmpfs", func(h *host) { h.state = stateDir{mount: "/run", tmpfs: true, size: 64 << 20, free: 60 << 20} },
			[]string{"warn state_file: mount -o remount,size=93M /run"}, "60 MiB free"},
		{"can't be read", func(h *host) { h.errs = []error{errors.New("list the routes: no")} },
			[]string{"warn host: # look at that first"}, "list the routes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := healthy()
			tt.harm(h)
			found := judge(&Config{Cluster: conf, File: "c.yaml", Node: "eds1"}, conf.Director("eds1"), h)
			var got []string
			text := ""
			for _, f := range found {
				if f.Level == OK {
					if f.Remedy != "" {
						t.Errorf("a remedy for what is fine: %+v", f)
					}
					continue
				}
				got = append(got, string(f.Level)+" "+f.Topic+": "+f.Remedy)
				text += f.Text + "\n"
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if !strings.Contains(text, tt.saying) {
				t.Errorf("want %q in\n%s", tt.saying, text)
			}
		})
	}
}

func TestDottedDeviceInSysctl(t *testing.T) {
	if got, want := setCommand("net/ipv6/conf/eth0.100/disable_ipv6", "0"), "sysctl -w net/ipv6/conf/eth0.100/disable_ipv6=0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnknownNode(t *testing.T) {
	found := Examine(t.Context(), Config{Cluster: parse(t, farm), File: "c.yaml", Node: "eds9"})
	if len(found) != 1 || found[0].Level != Fail || !strings.Contains(found[0].Text, "it has eds1") {
		t.Errorf("got %+v", found)
	}
}

// TestNoKey: a pair without a key is warned; a director alone needs none.
func TestNoKey(t *testing.T) {
	alone := strings.Replace(farm, "ha: {key_file: /etc/svm/ha.key}\n", "", 1)
	second := `  - {name: eds2, priority: 100, client: {device: eth0, address: 192.168.1.3, address6: "2001:db8:1::3"}, server: {device: eth1, address: 192.168.2.3, address6: "2001:db8:2::3"}}
`
	both := strings.Replace(alone, "realservers:\n", second+"realservers:\n", 1)
	for text, want := range map[string]int{alone: 0, both: 1} {
		n := 0
		conf := parse(t, text)
		for _, f := range judge(&Config{Cluster: conf, File: "cluster.yaml", Node: "eds1"}, conf.Director("eds1"), healthy()) {
			if f.Topic == "key_file" && f.Level == Warn {
				n++
			}
		}
		if n != want {
			t.Errorf("%d directors: %d warnings, want %d", len(conf.Directors), n, want)
		}
	}
}
