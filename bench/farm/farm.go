package farm

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/svm-cluster/svm/bench/netlab"
)

// ClientAddrs is how many addresses the client has, from ClientHost on, so that
// schedulers which hash the source have something to choose from.
const ClientAddrs = 16

// Farm is the farm of Figure 2. The first fields are set by the user, the others
// by Build.
type Farm struct {
	Lab      *netlab.Lab
	Topology Topology
	Families []Family
	Dir      string // scratch: configuration, sockets, each node's own files
	Programs Programs
	// Directors is how many there are; 0: two, the active one and the backup.
	Directors int
	// Elect lets two directors elect the active one and copy connections, with a key
	// that Prepare makes; NoKey: without. Otherwise the first is active for good.
	Elect, NoKey bool

	ServerNet       Network
	WAN             *netlab.Switch // the internet
	Client, Router1 *netlab.Node
	Back            *netlab.Node // the router that the replies take
	BackDev         string       // its device on the server network
	Station         *netlab.Node
	EDS, EPS        []*netlab.Node // directors and real servers
	// ServerDev is the directors' device on the server network; eth0 is the one on
	// the client network.
	ServerDev string
	// ClientPorts and ServerPorts are where the directors are plugged in.
	ClientPorts, ServerPorts []Port

	daemons []daemon
	before  map[*netlab.Node][]string // what was set before anything started
	byMAC   map[string]string         // MAC address to "node:device"
}

// Port is a place on a switch.
type Port struct {
	Switch *netlab.Switch
	Name   string // the device of the switch's node
}

// Own is where every node's processes see a directory of the node's own.
func (f *Farm) Own() string { return filepath.Join(f.Dir, "run") }

// Path is where the rest of the machine sees a file of a node's own directory.
func (f *Farm) Path(n *netlab.Node, name string) string { return filepath.Join(f.Dir, n.Name(), name) }

// Build makes all nodes, cables, addresses and routes, with so many real servers.
func (f *Farm) Build(servers int) {
	l := f.Lab
	if f.Directors == 0 {
		f.Directors = 2
	}
	f.WAN = f.wire("internet")
	wan, csw := f.WAN, f.wire("client-switch")
	ssw := csw
	switch {
	case f.Topology.OneArm:
		f.ServerNet = ClientNet()
	case f.Topology.Public:
		f.ServerNet, ssw = publicServer(), f.wire("server-switch")
	default:
		f.ServerNet, ssw = privateServer(), f.wire("server-switch")
	}

	f.Client = l.Node("client")
	var addrs []string
	for i := range ClientAddrs {
		addrs = append(addrs, Internet().Host(f.Families, ClientHost+i)...)
	}
	wan.Attach(f.Client, "eth0", addrs...)

	f.Router1 = l.Node("router1")
	router(f.Router1)
	wan.Attach(f.Router1, "eth0", Internet().Host(f.Families, Router1Host)...)
	csw.Attach(f.Router1, "eth1", ClientNet().Host(f.Families, Router1Host)...)
	switch {
	case f.Topology.OneArm:
		f.Back, f.BackDev = f.Router1, "eth1"
		f.Router1.Addr("eth1", ClientNet().Host(f.Families, Router2Host)...)
	case f.Topology.Routers == 1:
		f.Back, f.BackDev = f.Router1, "eth2"
		ssw.Attach(f.Back, f.BackDev, f.ServerNet.Host(f.Families, Router2Host)...)
	default:
		f.Back, f.BackDev = l.Node("router2"), "eth1"
		router(f.Back)
		wan.Attach(f.Back, "eth0", Internet().Host(f.Families, Router2Host)...)
		ssw.Attach(f.Back, f.BackDev, f.ServerNet.Host(f.Families, Router2Host)...)
	}

	f.ServerDev = "eth1"
	for i := range f.Directors {
		d := l.Node(fmt.Sprintf("eds%d", i+1))
		front := Port{csw, csw.Attach(d, "eth0", ClientNet().Host(f.Families, DirectorHost+i)...)}
		back := front
		if f.Topology.OneArm {
			f.ServerDev = "eth0"
		} else {
			back = Port{ssw, ssw.Attach(d, "eth1", f.ServerNet.Host(f.Families, DirectorHost+i)...)}
		}
		f.ClientPorts, f.ServerPorts = append(f.ClientPorts, front), append(f.ServerPorts, back)
		f.EDS = append(f.EDS, d)
	}
	for i := range servers {
		s := l.Node(fmt.Sprintf("eps%d", i+1))
		ssw.Attach(s, "eth0", f.ServerNet.Host(f.Families, ServerHost+i)...)
		f.EPS = append(f.EPS, s)
	}
	f.Station = l.Node("ems")
	ssw.Attach(f.Station, "eth0", f.ServerNet.Host(f.Families, StationHost)...)

	f.routes()
	f.nameDevices()
}

// wire makes a switch that keeps its hands off: on a host with br_netfilter Linux
// bridges drop IP packets with mistakes in them and take Ethernet padding off.
func (f *Farm) wire(name string) *netlab.Switch {
	s := f.Lab.Switch(name)
	for _, key := range []string{"iptables", "ip6tables", "arptables"} {
		path := "/proc/sys/net/bridge/bridge-nf-call-" + key
		// Not there without the module; where it can't be set, it stays.
		_ = s.Node().Do(func() error { return os.WriteFile(path, []byte("0"), 0) })
	}
	return s
}

func (f *Farm) nameDevices() {
	f.byMAC = map[string]string{}
	name := func(dev string, nodes ...*netlab.Node) {
		for _, n := range nodes {
			f.byMAC[n.MAC(dev).String()] = n.Name() + ":" + dev
		}
	}
	name("eth0", append([]*netlab.Node{f.Client, f.Router1, f.Station}, f.EPS...)...)
	name("eth0", f.EDS...)
	name(f.ServerDev, f.EDS...)
	name("eth1", f.Router1)
	name(f.BackDev, f.Back)
}

// Device says which node and device a hardware address belonged to when the farm
// was built, as in eds1:eth0; empty: none.
func (f *Farm) Device(mac string) string { return f.byMAC[mac] }

func router(n *netlab.Node) {
	n.Sysctl("net.ipv4.ip_forward", "1")
	n.Sysctl("net.ipv6.conf.all.forwarding", "1")
	// Requests and replies take different ways here, by design.
	n.Sysctl("net.ipv4.conf.all.rp_filter", "0")
}

func (f *Farm) routes() {
	r2 := Router2Host
	if f.Topology.Routers == 1 {
		r2 = Router1Host
	}
	for _, fam := range f.Families {
		f.Client.Route(ClientNet().CIDR(fam), Internet().Addr(fam, Router1Host))
		if f.Topology.Public && !f.Topology.OneArm {
			f.Client.Route(f.ServerNet.CIDR(fam), Internet().Addr(fam, r2))
		}
		// Nobody on the internet has a route to a private network, so neither has
		// the client; the replies come from the VIP, which is public.
		gateway := f.ServerNet.Addr(fam, Router2Host)
		for _, n := range f.EPS {
			n.Route("default", gateway)
		}
		f.Station.Route("default", gateway)
		for _, d := range f.EDS {
			d.Route("default", ClientNet().Addr(fam, Router1Host))
		}
	}
}

// Prepare gives each node with files a directory of its own below Dir.
func (f *Farm) Prepare() error {
	if err := os.MkdirAll(f.Own(), 0o755); err != nil {
		return err
	}
	for _, n := range f.hosts() {
		d := f.Path(n, "")
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		n.Bind(d, f.Own())
	}
	return f.makeKey()
}

// VIP is the first virtual address of the family.
func (f *Farm) VIP(fam Family) string { return f.MoreVIP(fam, 0) }

// MoreVIP is the i-th virtual address of the family.
func (f *Farm) MoreVIP(fam Family, i int) string { return ClientNet().Addr(fam, VIPHost+i) }
