// Package cluster is THE configuration schema: what a cluster.yaml may say, how
// it is read, checked and digested. It is a leaf: every part of SVM may import
// it, it imports none of them.
package cluster

import (
	"net/netip"
	"time"
)

// Cluster is one whole farm, parsed, with every default filled in. It is
// immutable after Parse; many goroutines may read it.
type Cluster struct {
	Name        string
	Topology    Topology
	Networks    Networks
	Station     Station
	HA          HA
	Forwarding  Forwarding
	Delivery    Delivery
	Directors   []Director
	RealServers []RealServer
	Services    []Service
}

// Topology says how many routers the farm has.
type Topology string

const (
	TwoRouter Topology = "two-router" // replies leave by a router of the server network
	OneRouter Topology = "one-router" // one router serves both networks
)

// Networks are the two sides of the directors.
type Networks struct{ Client, Server Network }

// Network is one Ethernet segment. The second family is optional: a zero
// Prefix or Addr says that it is not there.
type Network struct {
	CIDR, CIDR6       netip.Prefix
	Gateway, Gateway6 netip.Addr
}

// Station is the EMS.
type Station struct{ Address netip.Addr }

// HA configures the pair of directors (VRRPv3 words, RFC 9568).
type HA struct {
	VRID         uint8         // 1-255
	Interval     time.Duration // advertisement interval, 10 ms to 40.95 s in steps of 10 ms
	Preempt      bool
	PreemptDelay time.Duration // how long a returning higher priority waits
	KeyFile      string        // 64 hex digits, mode 0600; empty: plain VRRPv3
	MAC          MACMode
	Announce     time.Duration // how often the active repeats its announcements
	Unicast      bool          // advertise to the other director's addresses, not to the group
	Checksum     Checksum      // of IPv4 advertisements
	CheckTTL     bool          // refuse advertisements that a router passed on
	SyncPort     uint16        // UDP, of the connections' copy on the server network
	Track        Track
	Notify       Notify
}

// Checksum says what an IPv4 advertisement's checksum covers; both are understood.
type Checksum string

const (
	PseudoHeader Checksum = "pseudo-header" // as RFC 9568 has it
	Plain        Checksum = "plain"         // the advertisement alone, as some routers do
)

// Track lowers a director's priority when something that it needs is missing.
type Track struct {
	Devices           bool     // a client or server device that is down gives the role away
	MinServers        int      // fewer live servers, over all services, cost Penalty; 0: not watched
	Command           []string // a program whose failure costs Penalty; empty: none
	Interval, Timeout time.Duration
	Penalty           uint8
}

// Notify tells others of a change of role.
type Notify struct {
	Command []string // run with the environment SVM_ROLE, SVM_REASON, SVM_NODE, SVM_VRID, SVM_PRIORITY
	Webhook string   // URL to POST a JSON object to
	Timeout time.Duration
}

// MACMode says which MAC address answers for the VIPs.
type MACMode string

const (
	InterfaceMAC MACMode = "interface" // the active director's own
	VirtualMAC   MACMode = "virtual"   // 00:00:5e:00:01:VRID
)

// Forwarding tunes the packet forwarder of each director.
type Forwarding struct {
	Workers     int    // receive queues and threads; 0: one per CPU, at most 8
	Connections int    // size of the connection table, entries
	HalfOpen    int    // percent of it that unconfirmed connections may fill
	StateFile   string // where the table lives so that it outlives a crash; "none": memory only
	Timeouts    Timeouts
}

// Timeouts of idle connections, by state, as in IPVS.
type Timeouts struct {
	Established, SynRecv, FinWait, TimeWait, Close, UDP, Fragment time.Duration
}

// Delivery says how the station and the directors reach the other machines, and
// how a replaced one asks for its configuration.
type Delivery struct {
	SSHUser    string // the receiver's, on every machine
	SSHPort    uint16 // of every machine's sshd
	ConfigPort uint16 // TCP, of the directors: real servers fetch their part there
	DHCP       bool   // the active director gives the real servers their addresses
}

// Director is one EDS.
type Director struct {
	Name           string
	Priority       uint8 // 1-254; 255 is the owner's
	Client, Server Interface
}

// Interface is a network device of a director and its address(es) there. Address
// is of either family; Address6 is optional, and IPv6 where given.
type Interface struct {
	Device            string
	Address, Address6 netip.Addr
}

// RealServer is one EPS.
type RealServer struct {
	Name              string
	Address, Address6 netip.Addr // as in Interface
	Device            string
	MAC               string // of Device: 52:54:00:12:34:56, lower case; empty: not known
}

// Addr returns the server's address of the VIP's family: with v6, Address6 or an
// IPv6 Address; the zero Addr when it has none.
func (r *RealServer) Addr(v6 bool) netip.Addr { return family(r.Address, r.Address6, v6) }

// Addr is RealServer.Addr for a director's interface.
func (i *Interface) Addr(v6 bool) netip.Addr { return family(i.Address, i.Address6, v6) }

func family(a, a6 netip.Addr, v6 bool) netip.Addr {
	switch {
	case a.Is6() == v6 && a.IsValid():
		return a
	case v6:
		return a6
	}
	return netip.Addr{}
}

// Protocol of a virtual service.
type Protocol string

const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Service is one virtual service.
type Service struct {
	Name        string
	VIP         netip.Addr
	Protocol    Protocol
	Ports       Ports
	Scheduler   string   // one of IPVS's names
	Flags       []string // sh-port, mh-port, fallback (sh-fallback and mh-fallback are the same)
	Persistence Persistence
	OnePacket   bool // UDP only: every packet is scheduled by itself
	Check       Check
	Servers     []Server
}

// Ports is a sorted list of disjoint ranges; Any() is 1-65535.
type Ports []PortRange

// PortRange is First to Last, both included, host order.
type PortRange struct{ First, Last uint16 }

// Any tells whether the service takes every port.
func (p Ports) Any() bool { return len(p) == 1 && p[0] == PortRange{1, 65535} }

// Contains tells whether port is one of them.
func (p Ports) Contains(port uint16) bool {
	for _, r := range p {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

// Persistence keeps one client on one server. A zero Timeout switches it off.
type Persistence struct {
	Timeout time.Duration
	Netmask int // prefix length of the clients that are treated as one
}

// Server is one backend: a real server inside one service.
type Server struct {
	Name         string // a RealServer's
	Weight       int    // 0-65535
	Upper, Lower int    // connection thresholds; 0: none
}

// CheckType names a health check.
type CheckType string

const (
	CheckNone  CheckType = "none" // always taken as up
	CheckTCP   CheckType = "tcp"
	CheckHTTP  CheckType = "http"
	CheckHTTPS CheckType = "https"
	CheckUDP   CheckType = "udp" // up unless an ICMP error comes back; with expect, only when that is answered
	CheckExec  CheckType = "exec"
	CheckPing  CheckType = "ping"
)

// Check says how the servers of a service are probed: on the VIP, at that one
// real server, through the path that clients' packets take.
type Check struct {
	Type              CheckType
	Port              uint16 // default: the first port of the service
	Path, Host        string // http, https
	Status            []int  // accepted; empty: 200-399
	Send, Expect      string // tcp, udp: bytes to send, text to find in the answer
	Command           []string
	VerifyCertificate bool          // https
	Interval, Timeout time.Duration // timeout at most interval
	Rise, Fall        int           // results in a row that change the state
	CutOff            bool          // a server that fails loses its connections too; default: it keeps them
}
