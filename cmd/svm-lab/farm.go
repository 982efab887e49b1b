package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/svm-cluster/svm/bench/netlab"
)

// clientAddrs is how many addresses the client calls from, so that schedulers
// which hash the source have something to choose from.
const clientAddrs = 16

// farm is the paper's Figure 2 in network namespaces.
type farm struct {
	topology
	fams      []family
	serverNet network
	dir       string // scratch: configuration, sockets, each node's own files

	lab                *netlab.Lab
	client, router1    *netlab.Node
	back               *netlab.Node // the router that the replies take
	backDev            string       // its device on the server network
	station            *netlab.Node
	directors, servers []*netlab.Node
	daemons            []daemon
	before             map[*netlab.Node][]string // what was set before anything started
	byMAC              map[string]string         // MAC address to "node:device"
}

// own is where every node's processes see a directory of the node's own.
func (f *farm) own() string { return filepath.Join(f.dir, "run") }

// build makes all nodes, cables, addresses and routes. It panics with a
// *netlab.Failure.
func (f *farm) build(servers int) {
	l := f.lab
	f.serverNet = privateServer
	if f.public {
		f.serverNet = publicServer
	}
	wan, csw, ssw := l.Switch("internet"), l.Switch("client-switch"), l.Switch("server-switch")

	f.client = l.Node("client")
	var addrs []string
	for i := range clientAddrs {
		addrs = append(addrs, internet.host(f.fams, clientHost+i)...)
	}
	wan.Attach(f.client, "eth0", addrs...)

	f.router1 = l.Node("router1")
	router(f.router1)
	wan.Attach(f.router1, "eth0", internet.host(f.fams, router1Host)...)
	csw.Attach(f.router1, "eth1", clientNet.host(f.fams, router1Host)...)
	if f.routers == 1 {
		f.back, f.backDev = f.router1, "eth2"
	} else {
		f.back, f.backDev = l.Node("router2"), "eth1"
		router(f.back)
		wan.Attach(f.back, "eth0", internet.host(f.fams, router2Host)...)
	}
	ssw.Attach(f.back, f.backDev, f.serverNet.host(f.fams, router2Host)...)

	for i := range 2 {
		d := l.Node(fmt.Sprintf("eds%d", i+1))
		csw.Attach(d, "eth0", clientNet.host(f.fams, directorHost+i)...)
		ssw.Attach(d, "eth1", f.serverNet.host(f.fams, directorHost+i)...)
		f.directors = append(f.directors, d)
	}
	for i := range servers {
		s := l.Node(fmt.Sprintf("eps%d", i+1))
		ssw.Attach(s, "eth0", f.serverNet.host(f.fams, serverHost+i)...)
		f.servers = append(f.servers, s)
	}
	f.station = l.Node("ems")
	ssw.Attach(f.station, "eth0", f.serverNet.host(f.fams, stationHost)...)

	f.routes()
	f.byMAC = map[string]string{}
	name := func(dev string, nodes ...*netlab.Node) {
		for _, n := range nodes {
			f.byMAC[n.MAC(dev).String()] = n.Name() + ":" + dev
		}
	}
	name("eth0", append([]*netlab.Node{f.client, f.router1, f.station}, f.servers...)...)
	name("eth0", f.directors...)
	name("eth1", f.directors...)
	name("eth1", f.router1)
	name(f.backDev, f.back)
}

func router(n *netlab.Node) {
	n.Sysctl("net.ipv4.ip_forward", "1")
	n.Sysctl("net.ipv6.conf.all.forwarding", "1")
	// Requests and replies take different ways here, by design.
	n.Sysctl("net.ipv4.conf.all.rp_filter", "0")
}

func (f *farm) routes() {
	r2 := router2Host
	if f.routers == 1 {
		r2 = router1Host
	}
	for _, fam := range f.fams {
		f.client.Route(clientNet.cidr(fam), internet.addr(fam, router1Host))
		if f.public {
			f.client.Route(f.serverNet.cidr(fam), internet.addr(fam, r2))
		}
		// Nobody on the internet has a route to a private network, so neither has
		// the client; the replies come from the VIP, which is public.
		gateway := f.serverNet.addr(fam, router2Host)
		for _, n := range f.servers {
			n.Route("default", gateway)
		}
		f.station.Route("default", gateway)
		for _, d := range f.directors {
			d.Route("default", clientNet.addr(fam, router1Host))
		}
	}
}

// private gives each node with files a directory of its own below dir.
func (f *farm) private() error {
	if err := os.MkdirAll(f.own(), 0o755); err != nil {
		return err
	}
	for _, n := range f.hosts() {
		d := filepath.Join(f.dir, n.Name())
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		n.Bind(d, f.own())
	}
	return nil
}

// vip is the virtual address of the family.
func (f *farm) vip(fam family) string { return clientNet.addr(fam, vipHost) }
