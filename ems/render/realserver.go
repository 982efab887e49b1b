package render

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
)

// RealServer renders the files of the real server node: only its own part, and
// nothing that anybody may not see.
func (r *Renderer) RealServer(node string) (*Config, error) {
	rs := r.c.RealServer(node)
	if rs == nil {
		return nil, fmt.Errorf("render: cluster %s has no real server %q", r.c.Name, node)
	}
	own := r.own(rs)
	text := own.Text()
	// What is made and not written is read once before it is handed out.
	got, err := cluster.Parse("cluster.yaml", text)
	if err != nil {
		return nil, fmt.Errorf("render: the part of %s: %w", node, err)
	}
	f := files{stamp: r.stamp.Line(node)}
	f.add(ClusterFile, "# The cluster as far as this server is concerned.\n"+string(text))
	sysctl, err := realServerSysctl(rs, got.VIPs())
	if err != nil {
		return nil, err
	}
	f.add(SysctlFile, sysctl)
	if network := network(&r.c.Networks.Server, rs); network != "" {
		f.add(NetworkFile, network)
	}
	for _, name := range []string{"svm-agent.service", "svm-receiver.socket", "svm-receiver@.service", "svm-rs.service"} {
		f.add(unitDir+name, unit(name, RealServer, r.c.Delivery.SSHUser, node))
	}
	return r.config(node, RealServer, f)
}

// own is the cluster as rs needs it: where it stands, whom it asks, what it serves.
// How the directors share work among servers is none of its business, so a change of
// that leaves its files as they are.
func (r *Renderer) own(rs *cluster.RealServer) *cluster.Cluster {
	c := cluster.Default()
	c.Name, c.Topology, c.Networks, c.Delivery = r.c.Name, r.c.Topology, r.c.Networks, r.c.Delivery
	c.RealServers = []cluster.RealServer{*rs}
	for _, d := range r.c.Directors {
		c.Directors = append(c.Directors, cluster.Director{
			Name: d.Name, Priority: 100, Client: d.Client, Server: d.Server, // the priority that YAML leaves out
		})
	}
	for _, i := range r.services[rs.Name] {
		s := &r.c.Services[i]
		part := cluster.Service{
			Name: s.Name, VIP: s.VIP, Protocol: s.Protocol, Ports: s.Ports, Scheduler: "wlc",
			Check: s.Check, Servers: []cluster.Server{{Name: rs.Name, Weight: 1}},
		}
		if s.Check.Type == cluster.CheckExec {
			// A program of the directors, with arguments that may be secret.
			part.Check = cluster.Check{Type: cluster.CheckNone}
		}
		c.Services = append(c.Services, part)
	}
	return c
}

// network is the systemd-networkd file of the server: its addresses and its way out.
// Empty where the cluster file doesn't give the network's size.
func network(n *cluster.Network, rs *cluster.RealServer) string {
	var b strings.Builder
	for _, a := range []netip.Addr{rs.Address, rs.Address6} {
		for _, cidr := range []netip.Prefix{n.CIDR, n.CIDR6} {
			if a.IsValid() && cidr.IsValid() && cidr.Contains(a) {
				fmt.Fprintf(&b, "Address=%s\n", netip.PrefixFrom(a, cidr.Bits()))
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	for _, g := range []netip.Addr{n.Gateway, n.Gateway6} {
		if g.IsValid() && rs.Addr(g.Is6()).IsValid() {
			fmt.Fprintf(&b, "Gateway=%s\n", g)
		}
	}
	return "# For systemd-networkd. Replies leave by the gateway, never by a director.\n" +
		"[Match]\nName=" + rs.Device + "\n\n[Network]\n" + b.String()
}
