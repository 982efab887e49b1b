package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
)

func TestSpeak(t *testing.T) {
	farm := func(check, more string) *cluster.Cluster {
		c, err := cluster.Parse("cluster.yaml", fmt.Appendf(nil, `cluster: shop
directors:
  - {name: eds1, client: {device: eth0, address: 192.0.2.2}, server: {device: eth1, address: 192.168.2.2}}
realservers:
  - {name: eps1, address: 192.168.2.11}
services:
  - {name: web, vip: 192.0.2.100, ports: 80, check: %s, servers: [{name: eps1}]}
%s`, check, more))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const tcp = "{type: tcp, interval: 2s, timeout: 1s, fall: 3}"
	const other = "  - {name: api, vip: 192.0.2.100, ports: 81, check: {type: tcp, interval: 9s}, servers: [{name: eps1}]}\n"
	for _, c := range []struct {
		name     string
		old, now *cluster.Cluster
		want     time.Duration
	}{
		{"the same", farm(tcp, ""), farm(tcp, ""), 0},
		{"another type", farm(tcp, ""), farm("{type: http, interval: 2s, timeout: 1s, fall: 3, path: /x}", ""), 7 * time.Second},
		{"another port", farm(tcp, ""), farm("{type: tcp, interval: 1s, timeout: 500ms, fall: 2, port: 81}", ""), 2500 * time.Millisecond},
		{"a check at last", farm("{type: none}", ""), farm(tcp, ""), 7 * time.Second},
		{"no check any more", farm(tcp, ""), farm("{type: none}", ""), 0},
		{"a new service is judged from nothing", farm(tcp, ""), farm(tcp, other), 0},
		{"a service goes", farm(tcp, other), farm(tcp, ""), 0},
		{"a slow check", farm(tcp, ""), farm("{type: tcp, interval: 10m}", ""), longestWatch},
	} {
		if got := speak(c.old, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
