package farm

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Cluster is what a cluster file says beyond the machines and their addresses.
type Cluster struct {
	Connections int // size of the table; 0: 100000
	// Forwarding and HA are further keys of these mappings, such as
	// "timeouts: {close: 1s}"; empty: none.
	Forwarding, HA string
	Services       []Service
}

// Service is one virtual service of the cluster file.
type Service struct {
	Name, VIP string
	Protocol  string // empty: tcp
	Port      int    // 0: 80
	Scheduler string
	Check     string   // a mapping, such as {type: tcp}; empty: none
	More      []string // further lines, such as "one_packet: true"
	// Servers are the names, with more keys after a comma, such as
	// "eps1, weight: 0"; nil: all servers with weight 1.
	Servers []string
}

// WebCheck is a check of the farm's web servers.
const WebCheck = "{type: http, port: 80, path: /healthz, status: 200, interval: 500ms, timeout: 400ms, rise: 1, fall: 3}"

// WebServices are a service of all web servers for each family, web4 and web6.
func (f *Farm) WebServices(scheduler string) (out []Service) {
	for _, fam := range f.Families {
		out = append(out, Service{Name: fmt.Sprintf("web%d", int(fam)), VIP: f.VIP(fam), Scheduler: scheduler, Check: WebCheck})
	}
	return out
}

// ClusterFile is the path of the file that all nodes share.
func (f *Farm) ClusterFile() string { return filepath.Join(f.Dir, "cluster.yaml") }

// WriteCluster writes it.
func (f *Farm) WriteCluster(c Cluster) error {
	return os.WriteFile(f.ClusterFile(), []byte(f.clusterText(c)), 0o644)
}

func (f *Farm) clusterText(c Cluster) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	// keys writes one address or prefix per family, with or without IPv4.
	keys := func(key string, value func(Family) string) string {
		var out []string
		for _, fam := range f.Families {
			k := key
			if fam == 6 {
				k += "6"
			}
			out = append(out, fmt.Sprintf("%s: %q", k, value(fam)))
		}
		return strings.Join(out, ", ")
	}
	net := func(n Network, gateway int) string {
		return keys("cidr", n.CIDR) + ", " + keys("gateway", func(fam Family) string { return n.Addr(fam, gateway) })
	}
	// An address of a machine is of either family under its plain name.
	addr := func(n Network, host int) string {
		if len(f.Families) == 1 {
			return fmt.Sprintf("address: %q", n.Addr(f.Families[0], host))
		}
		return keys("address", func(fam Family) string { return n.Addr(fam, host) })
	}

	p("# %s, made by svm-lab", f.Topology)
	p("cluster: lab")
	p("topology: %s", f.Topology.key())
	p("networks:")
	p("  client: {%s}", net(ClientNet(), Router1Host))
	p("  server: {%s}", net(f.ServerNet, Router2Host))
	p("station: {address: %q}", f.ServerNet.Addr(f.Families[0], StationHost))
	p("ha: {vrid: 51, interval: 100ms, preempt: true%s%s}", f.keyFile(), further(c.HA))
	p("forwarding: {connections: %d, state_file: %q%s}", cmp.Or(c.Connections, 100000), filepath.Join(f.Own(), "connections"), further(c.Forwarding))
	p("directors:")
	for i, d := range f.EDS {
		p("  - {name: %s, priority: %d, client: {device: eth0, %s}, server: {device: %s, %s}}",
			d.Name(), 200-100*i, addr(ClientNet(), DirectorHost+i), f.ServerDev, addr(f.ServerNet, DirectorHost+i))
	}
	p("realservers:")
	for i, s := range f.EPS {
		p("  - {name: %s, device: eth0, %s}", s.Name(), addr(f.ServerNet, ServerHost+i))
	}
	p("services:")
	for _, s := range c.Services {
		p("  - name: %s", s.Name)
		p("    vip: %q", s.VIP)
		p("    protocol: %s", cmp.Or(s.Protocol, "tcp"))
		p("    ports: %d", cmp.Or(s.Port, 80))
		p("    scheduler: %s", s.Scheduler)
		if s.Check != "" {
			p("    check: %s", s.Check)
		}
		for _, line := range s.More {
			p("    %s", line)
		}
		p("    servers:")
		servers := s.Servers
		if servers == nil {
			for _, n := range f.EPS {
				servers = append(servers, n.Name()+", weight: 1")
			}
		}
		for _, name := range servers {
			p("      - {name: %s}", name)
		}
	}
	return b.String()
}

func further(keys string) string {
	if keys == "" {
		return ""
	}
	return ", " + keys
}
