package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/realserver"
)

// fromFile reads a cluster file and finds this server in it: by node, or, when
// that is empty, by the host's name, whole or up to its first dot.
func fromFile(file, node string) (target, error) {
	cl, err := cluster.Load(file)
	if err != nil {
		return target{}, err
	}
	names := []string{node}
	if node == "" {
		host, err := os.Hostname()
		if err != nil {
			return target{}, fmt.Errorf("host name: %w; give --node NAME", err)
		}
		short, _, _ := strings.Cut(host, ".")
		names = []string{host, short}
	}
	return fromCluster(cl, names)
}

// fromCluster finds the real server by the first of the names that the file has.
func fromCluster(cl *cluster.Cluster, names []string) (target, error) {
	for _, name := range names {
		for i := range cl.RealServers {
			if rs := &cl.RealServers[i]; rs.Name == name {
				return target{Config: serverConfig(cl, rs), node: name}, nil
			}
		}
	}
	var known []string
	for _, rs := range cl.RealServers {
		known = append(known, rs.Name)
	}
	return target{}, fmt.Errorf("cluster %s has no real server %q, only %s: give --node NAME", cl.Name, names[0], strings.Join(known, ", "))
}

// serverConfig gathers the VIPs of the services that list the server, those with
// weight 0 as well: it still serves the connections it has.
func serverConfig(cl *cluster.Cluster, rs *cluster.RealServer) realserver.Config {
	c := realserver.Config{Device: rs.Device}
	add := func(to *[]netip.Addr, addrs ...netip.Addr) {
		for _, a := range addrs {
			if a.IsValid() && !slices.Contains(*to, a) {
				*to = append(*to, a)
			}
		}
	}
	add(&c.Addresses, rs.Address, rs.Address6)
	add(&c.Gateways, cl.Networks.Server.Gateway, cl.Networks.Server.Gateway6)
	for _, d := range cl.Directors {
		add(&c.Directors, d.Server.Address, d.Server.Address6)
	}
	for _, s := range cl.Services {
		if !slices.ContainsFunc(s.Servers, func(b cluster.Server) bool { return b.Name == rs.Name }) {
			continue
		}
		add(&c.VIPs, s.VIP)
		for _, p := range s.Ports {
			c.Services = append(c.Services, realserver.Service{VIP: s.VIP, Protocol: string(s.Protocol), First: p.First, Last: p.Last})
		}
	}
	return c
}
