package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeConfig writes the cluster file that all nodes share and returns its path.
func (f *farm) writeConfig(scheduler string) (string, error) {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	// keys writes one address or prefix per family, with or without IPv4.
	keys := func(key string, value func(family) string) string {
		var out []string
		for _, fam := range f.fams {
			k := key
			if fam == 6 {
				k += "6"
			}
			out = append(out, fmt.Sprintf("%s: %q", k, value(fam)))
		}
		return strings.Join(out, ", ")
	}
	net := func(n network, gateway int) string {
		return keys("cidr", n.cidr) + ", " + keys("gateway", func(fam family) string { return n.addr(fam, gateway) })
	}
	// An address of a machine is of either family under its plain name.
	addr := func(n network, host int) string {
		if len(f.fams) == 1 {
			return fmt.Sprintf("address: %q", n.addr(f.fams[0], host))
		}
		return keys("address", func(fam family) string { return n.addr(fam, host) })
	}

	p("# %s, made by svm-lab", f.topology)
	p("cluster: lab")
	p("topology: %s", f.key())
	p("networks:")
	p("  client: {%s}", net(clientNet, router1Host))
	p("  server: {%s}", net(f.serverNet, router2Host))
	p("station: {address: %q}", f.serverNet.addr(f.fams[0], stationHost))
	p("ha: {vrid: 51, interval: 100ms, preempt: true}")
	p("forwarding: {connections: 100000, state_file: %q}", filepath.Join(f.own(), "connections"))
	p("directors:")
	for i, d := range f.directors {
		p("  - {name: %s, priority: %d, client: {device: eth0, %s}, server: {device: eth1, %s}}",
			d.Name(), 200-100*i, addr(clientNet, directorHost+i), addr(f.serverNet, directorHost+i))
	}
	p("realservers:")
	for i, s := range f.servers {
		p("  - {name: %s, device: eth0, %s}", s.Name(), addr(f.serverNet, serverHost+i))
	}
	p("services:")
	for _, fam := range f.fams {
		p("  - name: web%d", int(fam))
		p("    vip: %q", f.vip(fam))
		p("    protocol: tcp")
		p("    ports: 80")
		p("    scheduler: %s", scheduler)
		p("    check: {type: http, port: 80, path: /healthz, status: 200, interval: 500ms, timeout: 400ms, rise: 1, fall: 3}")
		p("    servers:")
		for _, s := range f.servers {
			p("      - {name: %s, weight: 1}", s.Name())
		}
	}
	path := filepath.Join(f.dir, "cluster.yaml")
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}
