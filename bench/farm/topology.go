package farm

import (
	"fmt"
	"strings"
)

// Topology is an arrangement of the farm.
type Topology struct {
	Name    string
	Routers int  // 1: router1 serves both networks, 2: replies leave by router2
	Public  bool // the client can reach the server network directly
	OneArm  bool // one network for clients and servers, one device on each director
}

// Topologies are the four arrangements of the paper.
func Topologies() []Topology {
	return []Topology{
		{Name: "two-router-private", Routers: 2},
		{Name: "two-router-public", Routers: 2, Public: true},
		{Name: "one-router-private", Routers: 1},
		{Name: "one-router-public", Routers: 1, Public: true},
	}
}

// OneArm has directors with one device, in the network of the servers.
func OneArm() Topology { return Topology{Name: "one-arm", Routers: 1, Public: true, OneArm: true} }

// key is the word for it in cluster.yaml.
func (t Topology) key() string {
	if t.Routers == 1 {
		return "one-router"
	}
	return "two-router"
}

// String says it in words.
func (t Topology) String() string {
	routers, servers := "two routers", "private server network"
	if t.Routers == 1 {
		routers = "one router"
	}
	if t.Public {
		servers = "public server network"
	}
	if t.OneArm {
		servers = "one network"
	}
	return routers + ", " + servers
}

// Family is an address family: 4 or 6.
type Family int

// Both are the two families.
func Both() []Family { return []Family{4, 6} }

func (f Family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// Network is one Ethernet of the farm with its addresses.
type Network struct {
	v4 string // first three bytes, 192.0.2
	v6 string // first 64 bits, 2001:db8:1
}

// Addresses of documentation (RFC 5737, RFC 3849) for what is public, and of
// RFC 1918 and RFC 4193 for what is private.

// Internet is the network between the client and the routers.
func Internet() Network { return Network{"198.51.100", "2001:db8:ffff"} }

// ClientNet is the network between router1 and the directors, that of the VIPs.
func ClientNet() Network { return Network{"192.0.2", "2001:db8:1"} }

func publicServer() Network  { return Network{"203.0.113", "2001:db8:2"} }
func privateServer() Network { return Network{"192.168.2", "fd53:564d:2"} }

// Host numbers.
const (
	Router1Host  = 1
	Router2Host  = 254
	DirectorHost = 2   // and the ones after it
	StationHost  = 5   // on the server network
	ClientHost   = 10  // on the internet, and the ones after it
	ServerHost   = 11  // and the ones after it
	VIPHost      = 100 // on the client network
)

// Addr is the address of a host in the network. IPv6 hosts get the same digits.
func (n Network) Addr(f Family, host int) string {
	if f == 4 {
		return fmt.Sprintf("%s.%d", n.v4, host)
	}
	return fmt.Sprintf("%s::%d", n.v6, host)
}

// CIDR is the network's prefix.
func (n Network) CIDR(f Family) string {
	if f == 4 {
		return n.v4 + ".0/24"
	}
	return n.v6 + "::/64"
}

// Host is an address with its prefix length, for each family.
func (n Network) Host(fams []Family, host int) (out []string) {
	for _, f := range fams {
		_, bits, _ := strings.Cut(n.CIDR(f), "/")
		out = append(out, n.Addr(f, host)+"/"+bits)
	}
	return out
}
