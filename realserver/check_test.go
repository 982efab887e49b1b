package realserver

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// ready is the state of a host on which all is right.
func ready() State {
	s := State{
		Boot:  "b",
		Links: []Link{{"lo", 65536, true}, {"eth0", 1500, true}, {"eth1", 1500, true}},
		Addresses: []Address{
			{Device: "lo", Prefix: netip.MustParsePrefix("127.0.0.1/8"), Host: true},
			{Device: "lo", Prefix: netip.MustParsePrefix("192.0.2.100/32"), Host: true},
			{Device: "lo", Prefix: netip.MustParsePrefix("2001:db8::100/128"), Deprecated: true},
			{Device: "eth0", Prefix: netip.MustParsePrefix("192.0.2.11/24")},
			{Device: "eth0", Prefix: netip.MustParsePrefix("2001:db8::11/64")},
		},
		Sysctls: map[string]string{},
		Defaults: []Route{
			{Device: "eth0", Gateway: netip.MustParseAddr("192.0.2.254")},
			{Device: "eth0", Gateway: netip.MustParseAddr("2001:db8::fe"), V6: true},
		},
		Listeners: []Listener{{"tcp", netip.IPv6Unspecified(), 80}, {"udp", vip4, 53}},
	}
	for _, d := range []string{"all", "lo", "eth0", "eth1"} {
		s.Sysctls[conf4(d, "arp_ignore")] = "1"
		s.Sysctls[conf4(d, "arp_announce")] = "2"
		s.Sysctls[conf4(d, "rp_filter")] = "0"
		s.Sysctls[conf6(d, "disable_ipv6")] = "0"
	}
	return s
}

func TestCheck(t *testing.T) {
	full := Config{
		Device: "eth0", VIPs: []netip.Addr{vip4, vip6}, Addresses: []netip.Addr{own4, own6},
		Directors: []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("2001:db8::fe")},
		Services:  []Service{{vip4, "tcp", 80, 80}, {vip6, "tcp", 1, 65535}, {vip4, "udp", 53, 53}},
	}
	set := func(key, v string) func(*State) { return func(s *State) { s.Sysctls[key] = v } }
	addr := func(i int, change func(*Address)) func(*State) { return func(s *State) { change(&s.Addresses[i]) } }
	drop := func(i int) func(*State) { return func(s *State) { s.Addresses = slices.Delete(s.Addresses, i, i+1) } }
	both := func(fs ...func(*State)) func(*State) {
		return func(s *State) {
			for _, f := range fs {
				f(s)
			}
		}
	}
	away := func(s *State) { s.Defaults[0].Device = "eth1" }
	for _, c := range []struct {
		name   string
		spoil  func(*State)
		config func(*Config)
		want   []string // "level command", a "+" before those that apply mends
	}{
		{name: "all is right"},
		{"VIPs missing", both(drop(2), drop(1)), nil, []string{
			"+error ip addr add 192.0.2.100/32 dev lo scope host", "+error ip addr add 2001:db8::100/128 dev lo nodad preferred_lft 0"}},
		{"VIP of global scope", addr(1, func(a *Address) { a.Host = false }), nil, []string{
			"warning ip addr del 192.0.2.100/32 dev lo && ip addr add 192.0.2.100/32 dev lo scope host"}},
		{"VIP not deprecated", addr(2, func(a *Address) { a.Deprecated = false }), nil, []string{
			"warning ip addr change 2001:db8::100/128 dev lo preferred_lft 0"}},
		{"VIP on the device", addr(1, func(a *Address) { a.Device = "eth0" }), nil, []string{
			"error ip addr del 192.0.2.100/32 dev eth0", "+error ip addr add 192.0.2.100/32 dev lo scope host"}},
		{"VIP as a network", addr(1, func(a *Address) { a.Prefix = netip.PrefixFrom(vip4, 24) }), nil, []string{
			"error ip addr del 192.0.2.100/24 dev lo", "+error ip addr add 192.0.2.100/32 dev lo scope host"}},
		{"arp_ignore off", set(conf4("all", "arp_ignore"), "0"), nil, []string{"+error sysctl -w net.ipv4.conf.all.arp_ignore=1"}},
		{"arp_ignore 3 answers for global scope", set(conf4("eth0", "arp_ignore"), "3"), nil, []string{"+error sysctl -w net.ipv4.conf.eth0.arp_ignore=1"}},
		{"arp_ignore 2 is stricter", set(conf4("eth0", "arp_ignore"), "2"), nil, nil},
		{"arp_ignore 8 hides the server", set(conf4("eth0", "arp_ignore"), "8"), nil, []string{"error sysctl -w net.ipv4.conf.eth0.arp_ignore=1"}},
		{"arp_announce 1", set(conf4("eth0", "arp_announce"), "1"), nil, []string{"+error sysctl -w net.ipv4.conf.eth0.arp_announce=2"}},
		{"arp settings of another device", set(conf4("eth1", "arp_ignore"), "0"), nil, nil},
		{"arp does not matter to IPv6", set(conf4("all", "arp_ignore"), "0"), func(c *Config) { c.VIPs, c.Services = c.VIPs[1:], nil }, nil},
		{"IPv6 off", set(conf6("lo", "disable_ipv6"), "1"), nil, []string{"error sysctl -w net.ipv6.conf.lo.disable_ipv6=0"}},
		{"IPv6 off without IPv6 VIPs", set(conf6("lo", "disable_ipv6"), "1"), func(c *Config) { c.VIPs, c.Services = c.VIPs[:1], nil }, nil},
		{"lo down", func(s *State) { s.Links[0].Up = false }, nil, []string{"error ip link set lo up"}},
		{"device down", func(s *State) { s.Links[1].Up = false }, nil, []string{"error ip link set eth0 up"}},
		{"no device", nil, func(c *Config) { *c = Config{Device: "eth9", VIPs: c.VIPs[:1]} }, []string{"error ip -br link show"}},
		{"MTU", func(s *State) { s.Links[1].MTU = 1400 }, nil, []string{"error ip link set eth0 mtu 1500"}},
		{"jumbo MTU", nil, func(c *Config) { c.MTU = 9000 }, []string{"error ip link set eth0 mtu 9000"}},
		{"own address missing", drop(3), nil, []string{"error ip addr show dev eth0"}},
		{"no own IPv6 address", drop(4), func(c *Config) { c.Addresses = c.Addresses[:1] }, []string{"warning ip addr add ADDRESS/64 dev eth0"}},
		{"no default route", func(s *State) { s.Defaults = s.Defaults[:1] }, nil, []string{"error ip -6 route replace default via 2001:db8::fe dev eth0"}},
		{"route through a director", func(s *State) { s.Defaults[0].Gateway = netip.MustParseAddr("192.0.2.2") }, nil, []string{
			"error ip route replace default via 192.0.2.254 dev eth0"}},
		{"replies by another device", away, nil, nil},
		{"the same with a strict filter", both(away, set(conf4("all", "rp_filter"), "1")), nil, []string{"error sysctl -w net.ipv4.conf.eth0.rp_filter=2"}},
		{"the same with a loose filter", both(away, set(conf4("all", "rp_filter"), "1"), set(conf4("eth0", "rp_filter"), "2")), nil, nil},
		{"strict filter, one device", set(conf4("all", "rp_filter"), "1"), nil, nil},
		{"nobody listens", func(s *State) { s.Listeners = nil }, nil, []string{"warning ss -lntp", "warning ss -lntp", "warning ss -lnup"}},
		{"old record", func(s *State) { s.Stale = true }, nil, []string{"+warning svm-rs apply"}},
		{"nothing wanted", set(conf4("all", "arp_ignore"), "0"), func(c *Config) { *c = Config{} }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			have, config := ready(), full
			if c.spoil != nil {
				c.spoil(&have)
			}
			if c.config != nil {
				c.config(&config)
			}
			var got []string
			for _, f := range Check(config, have) {
				line := string(f.Level) + " " + f.Command
				if f.Apply {
					line = "+" + line
				}
				if f.Problem == "" || f.Command == "" {
					t.Errorf("half a finding: %+v", f)
				}
				got = append(got, line)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

// What apply mends and what Check says that it mends are the same.
func TestCheckAndPlanAgree(t *testing.T) {
	have := ready()
	have.Addresses = nil
	for k := range have.Sysctls {
		if strings.HasPrefix(k, "net/ipv4") {
			have.Sysctls[k] = "0"
		}
	}
	var commands []string
	for _, f := range Check(want, have) {
		if f.Apply {
			commands = append(commands, f.Command)
		}
	}
	var steps []string
	for _, s := range Plan(want, have) {
		if s.Kind != WriteRecord {
			steps = append(steps, s.String())
		}
	}
	slices.Sort(commands)
	slices.Sort(steps)
	if !slices.Equal(commands, steps) || len(steps) != 6 {
		t.Errorf("check says\n%s\nplan does\n%s", strings.Join(commands, "\n"), strings.Join(steps, "\n"))
	}
}

func TestParseListener(t *testing.T) {
	for line, want := range map[string]Listener{
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000":                                                         {"tcp", netip.MustParseAddr("127.0.0.1"), 8080},
		"   1: B80D0120000000000000000000010000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000":         {"tcp", vip6, 80},
		"   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0000": {"tcp", netip.IPv6Unspecified(), 80},
	} {
		got, ok, more := parseListener("tcp", line)
		if got != want || !ok || !more {
			t.Errorf("%q: %v %v %v, want %v", line, got, ok, more, want)
		}
	}
	for line, more := range map[string]bool{
		"": true, "  sl  local_address rem_address   st": true, "0: zz:0050 x 0A": true, "0: 00:0050 x 0A": true, "0: 0100007F x 0A": true,
		"0: 0100007F:1F90 0100007F:1F91 01 0": false,
	} {
		if l, ok, m := parseListener("tcp", line); ok || m != more {
			t.Errorf("%q: %v %v more %v, want more %v", line, l, ok, m, more)
		}
	}
}
