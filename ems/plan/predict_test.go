package plan

import (
	"bytes"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/cluster"
)

const farm = `cluster: shop
directors:
  - {name: eds1, client: {device: eth0, address: 10.0.1.2}, server: {device: eth1, address: 10.0.2.2}}
realservers:
  - {name: eps1, address: 10.0.2.11}
  - {name: eps2, address: 10.0.2.12}
  - {name: eps3, address: 10.0.2.13}
services:
  - {name: web, vip: 10.0.1.100, ports: [80, 443], persistence: {}, servers: [{name: eps1}, {name: eps2}]}
  - {name: dns, vip: 10.0.1.101, protocol: udp, ports: 53, servers: [{name: eps1}]}
`

func parsed(t *testing.T, edit ...string) *cluster.Cluster {
	t.Helper()
	text := farm
	for i := 0; i < len(edit); i += 2 {
		if !strings.Contains(text, edit[i]) {
			t.Fatalf("%q is not in the file to edit", edit[i])
		}
		text = strings.ReplaceAll(text, edit[i], edit[i+1])
	}
	c, err := cluster.Parse("cluster.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPredict(t *testing.T) {
	full := []Count{{"web", "eps1", 100}, {"web", "eps2", 20}, {"web", "eps2", 3}, {"dns", "eps1", 7}, {"gone", "eps1", 1000}}
	const same = "web: no connection moves\ndns: no connection moves\n"
	for name, c := range map[string]struct {
		edit []string
		live []Count
		want string
	}{
		"nothing":           {nil, full, same},
		"no live data":      {nil, nil, same},
		"weight":            {[]string{"{name: eps2}", "{name: eps2, weight: 0}"}, full, same},
		"scheduler":         {[]string{"persistence: {}", "persistence: {}, scheduler: mh"}, full, same},
		"order":             {[]string{"[{name: eps1}, {name: eps2}]", "[{name: eps2}, {name: eps1}]"}, full, same},
		"a server more":     {[]string{"{name: eps2}]", "{name: eps2}, {name: eps3}]"}, full, same},
		"a service more":    {[]string{"  - {name: dns", "  - {name: new, vip: 10.0.1.102, ports: 80, servers: [{name: eps1}]}\n  - {name: dns"}, full, same},
		"renamed service":   {[]string{"name: web", "name: shop"}, full, same},
		"renamed server":    {[]string{"eps2", "epsb"}, full, same},
		"check":             {[]string{"protocol: udp", "protocol: udp, check: {type: ping}"}, full, same},
		"server removed":    {[]string{", {name: eps2}]", "]"}, full, "web: 23 connections of 123 break\n  eps2: removed from the service (23 connections)\ndns: no connection moves\n"},
		"and nobody said":   {[]string{", {name: eps2}]", "]"}, nil, "web: unknown how many connections break: no director said\n  eps2: removed from the service (unknown)\ndns: no connection moves\n"},
		"said of others":    {[]string{", {name: eps2}]", "]"}, full[:1], "web: unknown how many connections break: no director said\n  eps2: removed from the service (unknown)\ndns: no connection moves\n"},
		"had none":          {[]string{", {name: eps2}]", "]"}, []Count{{"web", "eps1", 5}, {"web", "eps2", 0}}, "web: none of 5 connections breaks\n  eps2: removed from the service (0 connections)\ndns: no connection moves\n"},
		"one connection":    {[]string{", {name: eps2}]", "]"}, []Count{{"web", "eps2", 1}}, "web: 1 connection of 1 break\n  eps2: removed from the service (1 connection)\ndns: no connection moves\n"},
		"service removed":   {[]string{"  - {name: dns, vip: 10.0.1.101, protocol: udp, ports: 53, servers: [{name: eps1}]}\n", ""}, full, "web: no connection moves\ndns: 7 connections of 7 break\n  eps1: the service goes (7 connections)\n"},
		"VIP":               {[]string{"vip: 10.0.1.101", "vip: 10.0.1.109"}, full, "web: no connection moves\ndns: 7 connections of 7 break\n  eps1: the VIP becomes 10.0.1.109 (7 connections)\n"},
		"protocol":          {[]string{"protocol: udp, ", ""}, full, "web: no connection moves\ndns: 7 connections of 7 break\n  eps1: the protocol becomes tcp (7 connections)\n"},
		"address":           {[]string{"10.0.2.12", "10.0.2.22"}, full, "web: 23 connections of 123 break\n  eps2: its address becomes 10.0.2.22 (23 connections)\ndns: no connection moves\n"},
		"swapped addresses": {[]string{"10.0.2.11", "x", "10.0.2.12", "10.0.2.11", "x", "10.0.2.12", "[{name: eps1}]", "[{name: eps2}]"}, full, same},
		"ports":             {[]string{"[80, 443]", "80"}, full, "web: no connection moves\n  ports go: what is connected stays, new connections to them don't come here\ndns: no connection moves\n"},
		"more ports":        {[]string{"[80, 443]", "80-500"}, full, same},
		"renamed and moved": {[]string{"name: dns", "name: names", "ports: 53", "ports: 54"}, full, "web: no connection moves\ndns: 7 connections of 7 break\n  eps1: the service goes (7 connections)\n"},
		"persistence":       {[]string{"persistence: {}", "persistence: {netmask: 24}"}, full, "web: no connection moves\n  persistence changes: clients may meet another server with their next connection\ndns: no connection moves\n"},
		"persistence on":    {[]string{"ports: 53", "ports: 53, persistence: {}"}, full, same},
	} {
		m := Predict(parsed(t), parsed(t, c.edit...), c.live)
		var b bytes.Buffer
		if err := WriteMoves(&b, m, false); err != nil {
			t.Fatal(err)
		}
		if b.String() != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, b.String(), c.want)
		}
	}
}

// TestPredictSplit has two services share a VIP's servers: each backend goes on once.
func TestPredictSplit(t *testing.T) {
	const split = "  - {name: tls, vip: 10.0.1.100, ports: 443, servers: [{name: eps1}, {name: eps2}]}\n"
	one := parsed(t)
	two := parsed(t, "[80, 443]", "80", "  - {name: dns", split+"  - {name: dns")
	live := []Count{{"web", "eps1", 1}, {"web", "eps2", 2}, {"tls", "eps1", 4}, {"tls", "eps2", 8}, {"dns", "eps1", 16}}
	for _, c := range []struct {
		old, now *cluster.Cluster
		want     int
	}{{one, two, 0}, {two, two, 0}, {two, one, 12}, {nil, one, 0}} {
		if n, known := Predict(c.old, c.now, live).Total(); n != c.want || !known {
			t.Errorf("%d break, known %v; want %d", n, known, c.want)
		}
	}
	if n, known := Predict(two, one, nil).Total(); n != 0 || known {
		t.Errorf("without live data: %d, known %v", n, known)
	}
}
