package main

import (
	"fmt"
	"strings"
)

// yaml writes the cluster file: short, with a comment on each thing that somebody new
// to it may want to change.
func (k *sketch) yaml() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# The whole farm. docs/cluster.reference.yaml has every key, with its unit and default.")
	p("# After a change: svm-ems check FILE; svm-ems plan FILE; svm-ems push FILE -m NOTE")
	p("cluster: %s", quotedText(k.name))
	p("topology: two-router            # replies leave by a router of the server network; or one-router")
	p("")
	p("networks:")
	if k.assumedNets {
		p("  # CHECK: the networks' sizes were assumed.")
	}
	k.network(p, "client", k.client)
	k.network(p, "server", k.server)
	if k.station.IsValid() {
		p("station: {address: %s}", quoted(k.station))
	} else {
		p("# station: {address: 192.0.2.5}  # this machine's, if it is to be known")
	}
	p("")
	p("# The pair of directors. The key is made by the station and delivered to both.")
	p("ha:")
	p("  vrid: 51                      # 1 to 255; no other VRRP router of these networks may have it")
	p("  key_file: /etc/svm/ha.key")
	p("")
	p("directors:                      # priority: the higher one is active while both are well")
	if k.defaultedDevices {
		p("  # CHECK: the devices were assumed (ip -br link shows them).")
	}
	for i, d := range k.directors {
		p("  - name: %s", quotedText(d.name))
		p("    priority: %d", max(200-100*i, 1))
		p("    client: {device: %s, address: %s}", quotedText(d.clientDevice), quoted(d.client))
		p("    server: {device: %s, address: %s}", quotedText(d.serverDevice), quoted(d.server))
	}
	p("")
	p("realservers:                    # device: eth0 where nothing else is said; mac: by it DHCP knows a new machine")
	for _, s := range k.servers {
		mac := ""
		if s.mac != "" {
			mac = fmt.Sprintf(", mac: %q", s.mac)
		}
		p("  - {name: %s, address: %s%s}", quotedText(s.name), quoted(s.address), mac)
	}
	p("")
	p("services:")
	p("  - name: web")
	p("    vip: %s", quoted(k.vip))
	ports := k.ports
	if strings.Contains(ports, ",") {
		ports = "[" + strings.ReplaceAll(ports, ",", ", ") + "]"
	}
	p("    ports: %s", ports)
	p("    scheduler: wlc              # rr, wrr, lc, sed, sh, mh ...")
	p("    # A server that doesn't answer gets no new connection. With a page of its own:")
	p("    # check: {type: http, path: /healthz, status: 200}")
	p("    check: {type: tcp}")
	p("    servers:                    # weight: its share; 0 takes a server out of new connections")
	for _, s := range k.servers {
		p("      - {name: %s, weight: 1}", quotedText(s.name))
	}
	return b.String()
}

func (k *sketch) network(p func(string, ...any), name string, s side) {
	if s.gateway.IsValid() {
		p("  %s: {cidr: %s, gateway: %s}", name, quoted(s.cidr), quoted(s.gateway))
		return
	}
	p("  %s: {cidr: %s}  # gateway: the router's address; real servers need it to answer clients elsewhere", name, quoted(s.cidr))
}
