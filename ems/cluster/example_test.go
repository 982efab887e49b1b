package cluster_test

import (
	"fmt"

	"github.com/svm-cluster/svm/ems/cluster"
)

func ExampleParse() {
	c, err := cluster.Parse("cluster.yaml", []byte(`cluster: shop
topology: two-router
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.1}
  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254}
station: {address: 192.168.2.5}
ha: {vrid: 51, interval: 100ms, preempt: true, key_file: /etc/svm/ha.key}
directors:
  - {name: eds1, priority: 200, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
  - {name: eds2, priority: 100, client: {device: eth0, address: 192.168.1.3}, server: {device: eth1, address: 192.168.2.3}}
realservers:
  - {name: eps1, address: 192.168.2.11, device: eth0}
  - {name: eps2, address: 192.168.2.12, device: eth0}
services:
  - name: web
    vip: 192.168.1.100
    protocol: tcp
    ports: [80, 443]
    scheduler: wlc
    persistence: {timeout: 300s, netmask: 24}
    check: {type: http, port: 80, path: /healthz, status: 200, interval: 2s, timeout: 1s, rise: 2, fall: 3}
    servers:
      - {name: eps1, weight: 3}
      - {name: eps2, weight: 1}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	web := c.Service("web")
	fmt.Println(c.Name, c.VIPs(), web.Scheduler, web.Ports, web.Servers[0].Weight)
	// Output: shop [192.168.1.100] wlc [{80 80} {443 443}] 3
}

func ExampleProblems() {
	_, err := cluster.Parse("cluster.yaml", []byte(`cluster: shop
directors:
  - {name: eds1, client: {device: eth0, address: 10.0.1.2}, server: {device: eth1, address: 10.0.2.2}}
realservers:
  - {name: eps1, address: 10.0.2.11}
services:
  - name: web
    vip: 10.0.1.100
    ports: 80
    shceduler: rr
    servers: [{name: esp1, weight: heavy}]
`))
	fmt.Println(err)
	// Output:
	// cluster.yaml:10:5: services[0].shceduler: unknown key, did you mean "scheduler"?
	// cluster.yaml:11:22: services[0].servers[0].name: no real server is named "esp1", did you mean "eps1"?
	// cluster.yaml:11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got "heavy"
}
