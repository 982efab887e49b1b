package provision

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/svm-cluster/svm/ems/cluster"
)

const (
	leaseTime = time.Hour
	// offerHolds is how long an offer keeps other machines from the same name.
	offerHolds = 10 * time.Second
	// probeHolds is how long a probe that found nobody else counts.
	probeHolds = 30 * time.Second
	// declineHolds is how long an address rests that a machine found to be in use.
	declineHolds = 10 * time.Second
)

// directorsOption carries the directors' configuration addresses to an Agent, as
// "svm1 192.168.2.2:8485 192.168.2.3:8485": an option for private use (RFC 3942, 224
// to 254). Those who list what they want, and this not, don't get it.
const directorsOption = dhcpv4.GenericOptionCode(224)

// directorsTag begins the option's text.
const directorsTag = "svm1"

// prober tells which machines other than ours answer for an address.
type prober func(ctx context.Context, a netip.Addr) ([]net.HardwareAddr, error)

// desk decides what a DHCP message is answered with (RFC 2131, section 4.3), for one
// director as long as its configuration stays the same. It has no pool: an address is
// a real server's fixed one or none.
type desk struct {
	self      netip.Addr   // server identifier
	net       netip.Prefix // the server network
	gateway   netip.Addr   // may be zero
	directors string       // directorsOption's text
	byMAC     map[string]*cluster.RealServer
	byName    map[string]*cluster.RealServer // those without a MAC
	probe     prober
	note      func(Count, string, string) // counts; problem's key and text, if not empty

	mu    sync.Mutex
	known map[string]*binding
}

// binding is what the desk remembers of one real server.
type binding struct {
	mac      net.HardwareAddr
	until    time.Time // of the offer or lease
	leased   bool
	probed   time.Time // nobody but mac answered then
	declined time.Time
}

// noDHCP is why a director can't serve DHCP, or won't; empty where it does.
func noDHCP(c *cluster.Cluster, self *cluster.Director) string {
	switch cidr := c.Networks.Server.CIDR; {
	case !c.Delivery.DHCP:
		return "delivery.dhcp is false"
	case !self.Server.Addr(false).IsValid():
		return "the server network has no IPv4 addresses; machines there need theirs from elsewhere"
	case !cidr.IsValid() || !cidr.Addr().Is4():
		return "networks.server.cidr isn't given as an IPv4 network, so its size isn't known"
	}
	return ""
}

// newDesk makes a desk where noDHCP has nothing to say.
func newDesk(c *cluster.Cluster, self *cluster.Director, probe prober, note func(Count, string, string)) *desk {
	d := &desk{
		self: self.Server.Addr(false), net: c.Networks.Server.CIDR, probe: probe, note: note,
		byMAC: make(map[string]*cluster.RealServer), byName: make(map[string]*cluster.RealServer), known: make(map[string]*binding),
	}
	if g := c.Networks.Server.Gateway; g.Is4() {
		d.gateway = g
	}
	d.directors = directorsTag
	for i := range c.Directors {
		if a := c.Directors[i].Server.Addr(false); a.IsValid() {
			d.directors += " " + netip.AddrPortFrom(a, c.Delivery.ConfigPort).String()
		}
	}
	for i := range c.RealServers {
		rs := &c.RealServers[i]
		if !rs.Addr(false).IsValid() {
			continue
		}
		if rs.MAC != "" {
			d.byMAC[rs.MAC] = rs
		} else {
			d.byName[rs.Name] = rs
		}
	}
	return d
}

// who is the real server that the message comes from: by its MAC, or, where the
// cluster file has none for it, by the host name that it says.
func (d *desk) who(m *dhcpv4.DHCPv4) *cluster.RealServer {
	if rs := d.byMAC[m.ClientHWAddr.String()]; rs != nil {
		return rs
	}
	name, _, _ := strings.Cut(strings.ToLower(m.HostName()), ".")
	return d.byName[name]
}

// answer returns what to send, or nil. rs is who's result. For one rs it is called by
// one goroutine at a time.
func (d *desk) answer(ctx context.Context, m *dhcpv4.DHCPv4, rs *cluster.RealServer, now time.Time) *dhcpv4.DHCPv4 {
	fixed := rs.Addr(false)
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if !d.free(ctx, m, rs, now) {
			return nil
		}
		d.hold(rs, m.ClientHWAddr, now.Add(offerHolds), false)
		d.note(DHCPOffered, "", "")
		return d.reply(m, rs, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		return d.request(ctx, m, rs, now)
	case dhcpv4.MessageTypeInform:
		if addr4(m.ClientIPAddr) != fixed {
			d.note(DHCPWrongAddress, "", "")
			return nil
		}
		d.note(DHCPInformed, "", "")
		return d.reply(m, rs, dhcpv4.MessageTypeAck)
	case dhcpv4.MessageTypeDecline:
		if addr4(m.ServerIdentifier()) == d.self && addr4(m.RequestedIPAddress()) == fixed {
			d.decline(rs, m.ClientHWAddr, now)
		}
	case dhcpv4.MessageTypeRelease:
		if addr4(m.ServerIdentifier()) == d.self && addr4(m.ClientIPAddr) == fixed {
			d.release(rs, m.ClientHWAddr)
			d.note(DHCPReleased, "", "")
		}
	default:
		d.note(DHCPMalformed, "", "")
	}
	return nil
}

// request is section 4.3.2: in answer to an offer, after a restart, or to renew.
func (d *desk) request(ctx context.Context, m *dhcpv4.DHCPv4, rs *cluster.RealServer, now time.Time) *dhcpv4.DHCPv4 {
	if id := addr4(m.ServerIdentifier()); id.IsValid() && id != d.self {
		d.release(rs, m.ClientHWAddr) // it took another server's offer
		d.note(DHCPOtherServer, "", "")
		return nil
	}
	want := addr4(m.RequestedIPAddress())
	if !want.IsValid() {
		want = addr4(m.ClientIPAddr)
	}
	if want != rs.Addr(false) {
		d.note(DHCPRefused, "", "")
		nak := d.reply(m, rs, dhcpv4.MessageTypeNak)
		nak.UpdateOption(dhcpv4.OptMessage(fmt.Sprintf("%s has %s", rs.Name, rs.Addr(false))))
		return nak
	}
	if !d.free(ctx, m, rs, now) {
		return nil
	}
	d.hold(rs, m.ClientHWAddr, now.Add(leaseTime), true)
	d.note(DHCPAcknowledged, "", "")
	return d.reply(m, rs, dhcpv4.MessageTypeAck)
}

// free tells whether rs's address may be given to the machine that asks: nobody else
// answers for it, and nobody else was just offered it.
func (d *desk) free(ctx context.Context, m *dhcpv4.DHCPv4, rs *cluster.RealServer, now time.Time) bool {
	mac, fixed := m.ClientHWAddr, rs.Addr(false)
	d.mu.Lock()
	b := d.known[rs.Name]
	if b == nil {
		b = &binding{}
		d.known[rs.Name] = b
	}
	mine := bytes.Equal(b.mac, mac)
	claimed := !mine && !b.leased && now.Before(b.until)
	fresh := mine && now.Sub(b.probed) < probeHolds && m.MessageType() == dhcpv4.MessageTypeRequest
	rests, holder := now.Sub(b.declined) < declineHolds, b.mac
	d.mu.Unlock()
	switch {
	case claimed:
		d.note(DHCPClaimedTwice, "name "+rs.Name, fmt.Sprintf("%s and %s both say that they are %s: set realservers[].mac", holder, mac, rs.Name))
		return false
	case rests:
		d.note(DHCPConflict, "", "")
		return false
	case fresh:
		return true
	}
	macs, err := d.probe(ctx, fixed)
	if err != nil {
		d.note(DHCPFailed, "probe", fmt.Sprintf("can't ask whether %s is in use: %v", fixed, err))
		return false
	}
	for _, other := range macs {
		if !bytes.Equal(other, mac) {
			d.note(DHCPConflict, "address "+fixed.String(), fmt.Sprintf("%s of %s is in use by %s, so %s doesn't get it: switch the wrong one off, or correct realservers[].mac", fixed, rs.Name, other, mac))
			return false
		}
	}
	d.mu.Lock()
	b.probed = now
	d.mu.Unlock()
	return true
}

func (d *desk) hold(rs *cluster.RealServer, mac net.HardwareAddr, until time.Time, leased bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.known[rs.Name]
	if b == nil {
		b = &binding{}
		d.known[rs.Name] = b
	}
	b.mac, b.until, b.leased = bytes.Clone(mac), until, leased
}

func (d *desk) release(rs *cluster.RealServer, mac net.HardwareAddr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.known[rs.Name]; b != nil && bytes.Equal(b.mac, mac) {
		delete(d.known, rs.Name)
	}
}

func (d *desk) decline(rs *cluster.RealServer, mac net.HardwareAddr, now time.Time) {
	d.mu.Lock()
	b := d.known[rs.Name]
	if b == nil || !bytes.Equal(b.mac, mac) {
		d.mu.Unlock()
		return // not what we gave
	}
	*b = binding{declined: now}
	d.mu.Unlock()
	d.note(DHCPDeclined, "address "+rs.Addr(false).String(), fmt.Sprintf("%s at %s found its address %s in use by another machine", rs.Name, mac, rs.Addr(false)))
}

// reply is the answer of the kind, with what section 4.3.1, table 3, wants in it.
func (d *desk) reply(m *dhcpv4.DHCPv4, rs *cluster.RealServer, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	r := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: m.HWType, TransactionID: m.TransactionID, Flags: m.Flags,
		ClientHWAddr: m.ClientHWAddr, GatewayIPAddr: m.GatewayIPAddr, Options: make(dhcpv4.Options),
	}
	r.UpdateOption(dhcpv4.OptMessageType(kind))
	r.UpdateOption(dhcpv4.OptServerIdentifier(d.self.AsSlice()))
	if id := m.GetOneOption(dhcpv4.OptionClientIdentifier); id != nil {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, id)) // RFC 6842
	}
	if kind == dhcpv4.MessageTypeNak {
		r.SetBroadcast()
		return r
	}
	r.ClientIPAddr = m.ClientIPAddr
	r.ServerIPAddr = d.self.AsSlice()
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(d.net.Bits(), 32)))
	r.UpdateOption(dhcpv4.OptHostName(rs.Name))
	if d.gateway.IsValid() {
		r.UpdateOption(dhcpv4.OptRouter(d.gateway.AsSlice()))
	}
	if m.IsOptionRequested(directorsOption) && len(d.directors) <= 255 {
		r.UpdateOption(dhcpv4.OptGeneric(directorsOption, []byte(d.directors)))
	}
	if m.MessageType() == dhcpv4.MessageTypeInform {
		return r // it has its address: no lease
	}
	r.YourIPAddr = rs.Addr(false).AsSlice()
	r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(leaseTime))
	r.UpdateOption(dhcpv4.OptRenewTimeValue(leaseTime / 2))
	r.UpdateOption(dhcpv4.OptRebindingTimeValue(leaseTime / 8 * 7))
	return r
}

// addr4 is the zero Addr for no address and for 0.0.0.0.
func addr4(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
