package render

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/cluster"
)

// farm has a real server that no service uses, one of IPv6 only, checks of every
// kind that matters, and a word in it that no real server may see.
const farm = `# the shop
cluster: shop
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.1}
  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254, cidr6: "fd00:2::/64", gateway6: "fd00:2::fe"}
station: {address: 192.168.2.5}
ha: {key_file: /etc/svm/ha.key, notify: {command: [/usr/bin/tell, hush]}}
delivery: {ssh_port: 2222}
directors:
  - {name: eds1, priority: 200, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
  - {name: eds2, client: {device: eth0, address: 192.168.1.3}, server: {device: eth1.100, address: 192.168.2.3}}
realservers:
  - {name: eps1, address: 192.168.2.11, address6: "fd00:2::11", mac: 52:54:00:00:02:0B}
  - {name: eps2, address: 192.168.2.12, device: eth0.7}
  - {name: eps3, address: "fd00:2::13"}
  - {name: spare, address: 192.168.2.99}
services:
  - name: web
    vip: 192.168.1.100
    ports: [80, 443]
    scheduler: wrr
    persistence: {}
    check: {type: http, path: /healthz}
    servers: [{name: eps1, weight: 3}, {name: eps2, upper: 10}]
  - name: web6
    vip: fd00:1::100
    ports: 80
    check: {type: tcp, expect: "220"}
    servers: [{name: eps3}, {name: eps1}]
  - name: dns
    vip: 192.168.1.101
    protocol: udp
    ports: any
    check: {type: exec, command: [/usr/bin/check, --password, hush]}
    servers: [{name: eps1}]
`

const (
	hostKey1 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
	hostKey2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/"
	relayPEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nbm90IGEga2V5\n-----END OPENSSH PRIVATE KEY-----\n"
)

func testSecrets() Secrets {
	return Secrets{HAKey: []byte(strings.Repeat("0123456789abcdef", 4) + "\n"), RelayKey: []byte(relayPEM)}
}

func testInput() Input {
	return Input{Generation: 7, YAML: []byte(farm), Roster: Roster{
		StationKey: "RWQ" + strings.Repeat("A", 53), StationSSH: hostKey1,
		Machines: []Machine{
			{Name: "eds1", Age: "age1x", Relay: hostKey2},
			{Name: "eps1", HostKey: hostKey1 + " root@eps1"},
			{Name: "eps2", HostKey: hostKey2},
			{Name: "spare"},
		},
	}}
}

func edited(t testing.TB, pairs ...string) Input {
	t.Helper()
	in, text := testInput(), farm
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the file to edit", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	in.YAML = []byte(text)
	return in
}

// everything renders all machines, in the order of the cluster file.
func everything(t testing.TB, in Input) []*Config {
	t.Helper()
	r, err := New(in)
	if err != nil {
		t.Fatal(err)
	}
	var all []*Config
	for _, d := range r.Cluster().Directors {
		c, err := r.Director(d.Name, testSecrets())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, s := range r.Cluster().RealServers {
		c, err := r.RealServer(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func (c *Config) file(t testing.TB, path string) string {
	t.Helper()
	for _, f := range c.Files {
		if f.Path == path {
			return string(f.Data)
		}
	}
	t.Fatalf("%s has no %s", c.Node, path)
	return ""
}

// shown is a whole configuration as one text, for golden files.
func shown(c *Config) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s, cluster %s, generation %d, digest %s\n", c.Kind, c.Node, c.Cluster, c.Generation, c.Digest)
	for _, f := range c.Files {
		fmt.Fprintf(&b, "\n-- %s %#o owner %q secret %v --\n%s", f.Path, f.Mode, f.Owner, f.Secret, f.Data)
	}
	return b.Bytes()
}

func mustParse(t testing.TB, data string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Parse("cluster.yaml", []byte(data))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, data)
	}
	return c
}
