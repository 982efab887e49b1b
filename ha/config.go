package ha

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Config is what New needs. It is not changed, and must not be afterwards.
type Config struct {
	Node         string // the director's name, for notifications
	VRID         uint8  // 1 to 255, the same on both directors, unique on their networks
	Priority     uint8  // 1 to 254; 255 says that the director owns the addresses
	Interval     time.Duration
	Preempt      bool
	PreemptDelay time.Duration
	WaitForSync  bool          // a returning director first waits for SetSyncReady(true) ...
	SyncTimeout  time.Duration // ... at most this long; 0: 30 s
	Key          []byte        // KeySize bytes: seals every packet; none: plain VRRPv3
	Links        []Link        // first the one whose addresses decide ties
	VIPs         []netip.Addr  // at least one; both families may be mixed
	Checksum     Checksum      // form sent over IPv4
	AnyTTL       bool          // take packets that crossed a router: only for unicast peers, best with a key

	LinkDownDelta int // added to the priority for each link that is down; 0: the role is given away
	Scripts       []Script
	Notify        Notify

	Log *slog.Logger // nil: none
	// OnRole, OnAnnounce and OnReport are called one at a time, in order, from
	// one goroutine that is not the heartbeat's: they may block, but the next
	// then waits. OnRole(false) is also called at the start. OnAnnounce asks for
	// gratuitous ARP and unsolicited NA for all VIPs.
	OnRole     func(active bool)
	OnAnnounce func()
	OnReport   func(Report)

	clock func() time.Duration             // nil: CLOCK_BOOTTIME
	open  func(*Runner) (transport, error) // nil: raw sockets
}

// Link is one network that advertisements use.
type Link struct {
	Device       string
	Index        int        // 0: looked up by Device
	Addr4, Addr6 netip.Addr // our own; at least one. Multicast over IPv6 uses the link-local address of the device
	Peers        []netip.Addr
}

// path is one link in one family.
type path struct {
	link  int
	v6    bool
	local netip.Addr
	peers []netip.Addr // unicast; none: the group
	name  string
}

func (p *path) group() netip.Addr {
	if p.v6 {
		return Group6()
	}
	return Group4()
}

func (c *Config) machine() MachineConfig {
	return MachineConfig{Priority: c.Priority, Interval: c.Interval, Preempt: c.Preempt, PreemptDelay: c.PreemptDelay,
		WaitForSync: c.WaitForSync, SyncTimeout: c.SyncTimeout, Node: c.node()}
}

// node is the canonical address.
func (c *Config) node() netip.Addr {
	for _, l := range c.Links {
		if l.Addr4.IsValid() {
			return l.Addr4
		}
		if l.Addr6.IsValid() {
			return l.Addr6
		}
	}
	return netip.Addr{}
}

func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("ha: "+format, args...)) }
	if c.VRID == 0 {
		bad("VRID 0: want 1 to 255")
	}
	m := c.machine()
	if err := m.check(); err != nil {
		errs = append(errs, err)
	}
	if c.Key != nil && len(c.Key) != KeySize {
		bad("the key has %d bytes, want %d", len(c.Key), KeySize)
	}
	if len(c.Links) == 0 || len(c.Links) > maxPaths/2 {
		bad("%d links: want 1 to %d", len(c.Links), maxPaths/2)
	}
	unicast := true
	for i, l := range c.Links {
		if l.Device == "" {
			bad("link %d: no device", i)
		}
		if !l.Addr4.IsValid() && !l.Addr6.IsValid() {
			bad("link %s: neither an IPv4 nor an IPv6 address of our own", l.Device)
		}
		if l.Addr4.IsValid() && !l.Addr4.Is4() || l.Addr6.IsValid() && (!l.Addr6.Is6() || l.Addr6.Is4In6()) {
			bad("link %s: address of the wrong family", l.Device)
		}
		for _, p := range l.Peers {
			if p == l.Addr4 || p == l.Addr6 {
				bad("link %s: the peer %s is this director itself", l.Device, p)
			}
		}
		if slices.ContainsFunc(c.Links[:i], func(o Link) bool { return o.Device == l.Device }) {
			bad("link %s is given twice", l.Device)
		}
		unicast = unicast && len(l.Peers) > 0
	}
	if c.AnyTTL && !unicast {
		bad("AnyTTL is for unicast peers: multicast never crosses a router")
	}
	for i := range c.Scripts {
		if err := c.Scripts[i].check(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := c.checkVIPs(c.VIPs); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkVIPs wants a path on which the VIPs can be advertised.
func (c *Config) checkVIPs(vips []netip.Addr) error {
	if len(vips) == 0 {
		return errors.New("ha: no VIP: an advertisement must name at least one")
	}
	v4, v6 := split(vips)
	for _, p := range c.paths() {
		if p.v6 && len(v6) > 0 || !p.v6 && len(v4) > 0 {
			return nil
		}
	}
	return errors.New("ha: no link has an address (and, with unicast, a peer) of the VIPs' family")
}

// paths lists links times families, in the order of Links, IPv4 first.
func (c *Config) paths() []path {
	var out []path
	for i, l := range c.Links {
		for _, local := range []netip.Addr{l.Addr4, l.Addr6} {
			if !local.IsValid() {
				continue
			}
			p := path{link: i, v6: local.Is6(), local: local, name: l.Device + "/IPv4"}
			if p.v6 {
				p.name = l.Device + "/IPv6"
			}
			for _, peer := range l.Peers {
				if peer.Is6() == p.v6 {
					p.peers = append(p.peers, peer)
				}
			}
			if len(l.Peers) > 0 && len(p.peers) == 0 {
				continue // unicast, and no peer of this family
			}
			out = append(out, p)
		}
	}
	return out
}

// split sorts VIPs by family and address, link-local IPv6 first (RFC 9568
// section 5.2.9), and cuts what fits no packet.
func split(vips []netip.Addr) (v4, v6 []netip.Addr) {
	for _, a := range vips {
		if a = a.Unmap().WithZone(""); a.Is4() {
			v4 = append(v4, a)
		} else if a.IsValid() {
			v6 = append(v6, a)
		}
	}
	slices.SortFunc(v4, netip.Addr.Compare)
	slices.SortFunc(v6, func(a, b netip.Addr) int {
		if l := a.IsLinkLocalUnicast(); l != b.IsLinkLocalUnicast() {
			if l {
				return -1
			}
			return 1
		}
		return a.Compare(b)
	})
	v4, v6 = slices.Compact(v4), slices.Compact(v6)
	return v4[:min(len(v4), maxAddrs4)], v6[:min(len(v6), maxAddrs6)]
}
