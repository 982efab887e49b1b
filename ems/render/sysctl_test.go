package render

import (
	"fmt"
	"strings"
	"testing"
)

func TestSysctlsOfMachines(t *testing.T) {
	want := map[string]string{
		"eds1":  "[{net/ipv4/ip_forward 0} {net/ipv6/conf/all/forwarding 0} {net/ipv6/conf/eth0/disable_ipv6 0} {net/ipv6/conf/eth1/disable_ipv6 0}]",
		"eps1":  "[{net/ipv4/conf/all/arp_ignore 1} {net/ipv4/conf/all/arp_announce 2} {net/ipv4/conf/eth0/arp_ignore 1} {net/ipv4/conf/eth0/arp_announce 2}]",
		"eps2":  "[{net/ipv4/conf/all/arp_ignore 1} {net/ipv4/conf/all/arp_announce 2} {net/ipv4/conf/eth0.7/arp_ignore 1} {net/ipv4/conf/eth0.7/arp_announce 2}]",
		"eps3":  "[]", // its only VIP is IPv6
		"spare": "[]",
	}
	for _, c := range everything(t, testInput()) {
		all, err := Sysctls([]byte(c.file(t, SysctlFile)))
		if err != nil {
			t.Fatal(err)
		}
		if w, ok := want[c.Node]; ok && fmt.Sprint(all) != w {
			t.Errorf("%s: got %v, want %s", c.Node, all, w)
		}
	}
	c, err := ForDirector(edited(t, "vip: fd00:1::100", "vip: 192.168.1.102", "{name: eps3}, {name: eps1}", "{name: eps1}"), "eds1", testSecrets())
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := Sysctls([]byte(c.file(t, SysctlFile))); fmt.Sprint(all) != "[{net/ipv4/ip_forward 0}]" {
		t.Errorf("without IPv6 VIPs: %v", all)
	}
}

func TestSysctlsRefused(t *testing.T) {
	for _, line := range []string{
		"kernel/core_pattern = x", "net/../kernel/core_pattern = 1", "net/ipv4/./x = 1", "/net/ipv4/x = 1", "net//x = 1",
		"net/ipv4 = 1", "net/ipv4/conf/*/x = 1", "net/ipv4/x=1", "net/ipv4/x = ", "net/ipv4/x = |sh", "-net/ipv4/x = 1",
		"net.ipv4.ip_forward = 1", "net/ipv4/x = 1 2", "net/ipv4/" + strings.Repeat("x", 200) + " = 1",
	} {
		if all, err := Sysctls([]byte("# good\nnet/ipv4/ip_forward = 0\n" + line + "\n")); err == nil || !strings.Contains(err.Error(), ":3: ") {
			t.Errorf("%q: got %v, %v", line, all, err)
		}
	}
}

func TestNetworkFile(t *testing.T) {
	const head = "# For systemd-networkd. Replies leave by the gateway, never by a director.\n[Match]\n"
	for name, c := range map[string]struct {
		edit []string
		node string
		want string
	}{
		"both families": {nil, "eps1", head + "Name=eth0\n\n[Network]\nAddress=192.168.2.11/24\nAddress=fd00:2::11/64\nGateway=192.168.2.254\nGateway=fd00:2::fe\n"},
		"IPv4":          {nil, "eps2", head + "Name=eth0.7\n\n[Network]\nAddress=192.168.2.12/24\nGateway=192.168.2.254\n"},
		"IPv6":          {nil, "eps3", head + "Name=eth0\n\n[Network]\nAddress=fd00:2::13/64\nGateway=fd00:2::fe\n"},
		"no gateway":    {[]string{", gateway: 192.168.2.254", ""}, "eps2", head + "Name=eth0.7\n\n[Network]\nAddress=192.168.2.12/24\n"},
		"no network":    {[]string{"cidr: 192.168.2.0/24, ", ""}, "eps2", ""},
	} {
		cfg, err := ForRealServer(edited(t, c.edit...), c.node)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range cfg.Files {
			if f.Path == NetworkFile {
				got = string(Unstamped(f.Data))
			}
		}
		if got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}
