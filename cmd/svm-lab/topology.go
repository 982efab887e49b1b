package main

import (
	"fmt"
	"slices"
	"strings"
)

// topology is one of the four arrangements of the farm.
type topology struct {
	name    string
	routers int  // 1: router1 serves both networks, 2: replies leave by router2
	public  bool // the client can reach the server network directly
}

var topologies = [...]topology{
	{"two-router-private", 2, false},
	{"two-router-public", 2, true},
	{"one-router-private", 1, false},
	{"one-router-public", 1, true},
}

func topologyNames() string {
	var names []string
	for _, t := range topologies {
		names = append(names, t.name)
	}
	return strings.Join(names, ", ")
}

// chooseTopologies finds the topologies that the flag means.
func chooseTopologies(name string) ([]topology, error) {
	if name == "all" {
		return topologies[:], nil
	}
	i := slices.IndexFunc(topologies[:], func(t topology) bool { return t.name == name })
	if i < 0 {
		return nil, fmt.Errorf("--topology %s: want one of %s, all", name, topologyNames())
	}
	return topologies[i : i+1], nil
}

// key is the word for it in cluster.yaml.
func (t topology) key() string {
	if t.routers == 1 {
		return "one-router"
	}
	return "two-router"
}

// String says it in words.
func (t topology) String() string {
	routers, servers := "two routers", "private server network"
	if t.routers == 1 {
		routers = "one router"
	}
	if t.public {
		servers = "public server network"
	}
	return routers + ", " + servers
}

// family is an address family: 4 or 6.
type family int

func (f family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

func chooseFamilies(s string) ([]family, error) {
	switch s {
	case "4":
		return []family{4}, nil
	case "6":
		return []family{6}, nil
	case "both":
		return []family{4, 6}, nil
	}
	return nil, fmt.Errorf("--family %s: want 4, 6 or both", s)
}

// network is one Ethernet of the farm with its addresses.
type network struct {
	v4 string // first three bytes, 192.0.2
	v6 string // first 64 bits, 2001:db8:1
}

// Addresses of documentation (RFC 5737, RFC 3849) for what is public, and of
// RFC 1918 and RFC 4193 for what is private.
var (
	internet      = network{"198.51.100", "2001:db8:ffff"}
	clientNet     = network{"192.0.2", "2001:db8:1"}
	publicServer  = network{"203.0.113", "2001:db8:2"}
	privateServer = network{"192.168.2", "fd53:564d:2"}
)

// Host numbers.
const (
	router1Host  = 1
	router2Host  = 254
	directorHost = 2   // and the one after it
	stationHost  = 5   // on the server network
	clientHost   = 10  // on the internet, and the ones after it
	serverHost   = 11  // and the ones after it
	vipHost      = 100 // on the client network
)

// addr is the address of a host in the network. IPv6 hosts get the same digits.
func (n network) addr(f family, host int) string {
	if f == 4 {
		return fmt.Sprintf("%s.%d", n.v4, host)
	}
	return fmt.Sprintf("%s::%d", n.v6, host)
}

// cidr is the network's prefix.
func (n network) cidr(f family) string {
	if f == 4 {
		return n.v4 + ".0/24"
	}
	return n.v6 + "::/64"
}

// host is an address with its prefix length, for each family.
func (n network) host(fams []family, host int) (out []string) {
	for _, f := range fams {
		_, bits, _ := strings.Cut(n.cidr(f), "/")
		out = append(out, n.addr(f, host)+"/"+bits)
	}
	return out
}
