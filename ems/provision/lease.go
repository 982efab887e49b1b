package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// lease is what a director's DHCP gave.
type lease struct {
	prefix    netip.Prefix // the address with the network's length
	router    netip.Addr   // may be zero
	name      string       // of the machine, in the cluster file
	directors []netip.AddrPort
	until     time.Time
	renew     time.Time
	raw       *nclient4.Lease
}

// errInUse says that another machine has the address that was offered.
var errInUse = errors.New("another machine has this address")

// dhcpClient asks on one device. It takes offers of SVM's directors only: those that
// carry directorsOption. Another DHCP server on the network is not heard.
type dhcpClient struct {
	device, hostName string
	timeout          time.Duration // of the first try; doubled twice
}

func (c *dhcpClient) open() (*nclient4.Client, error) {
	cl, err := nclient4.New(c.device, nclient4.WithTimeout(c.timeout), nclient4.WithRetry(3))
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w (needs CAP_NET_RAW)", c.device, err)
	}
	return cl, nil
}

func (c *dhcpClient) modifiers() []dhcpv4.Modifier {
	mods := []dhcpv4.Modifier{
		dhcpv4.WithBroadcast(true),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionHostName, directorsOption),
	}
	if c.hostName != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(c.hostName)))
	}
	return mods
}

func ours(m *dhcpv4.DHCPv4) bool {
	return bytes.HasPrefix(m.GetOneOption(directorsOption), []byte(directorsTag+" "))
}

// acquire gets a lease of an address that nobody else uses, which it makes sure of by
// ARP before it returns (RFC 2131, section 4.4.1).
func (c *dhcpClient) acquire(ctx context.Context) (*lease, error) {
	cl, err := c.open()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	discover, err := dhcpv4.NewDiscovery(cl.InterfaceAddr(), c.modifiers()...)
	if err != nil {
		return nil, err
	}
	offer, err := cl.SendAndRead(ctx, nclient4.DefaultServers, discover,
		nclient4.IsAll(nclient4.IsMessageType(dhcpv4.MessageTypeOffer), ours))
	if errors.Is(err, nclient4.ErrNoResponse) {
		return nil, fmt.Errorf("no director offers this machine an address on %s: is its MAC or host name in the cluster file, and delivery.dhcp true?", c.device)
	} else if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", c.device, err)
	}
	raw, err := cl.RequestFromOffer(ctx, offer, c.modifiers()...)
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", c.device, err)
	}
	l, err := newLease(raw)
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %s: %w", c.device, offer.ServerIdentifier(), err)
	}
	macs, err := probe(ctx, c.device, netip.Addr{}, l.prefix.Addr())
	if err != nil {
		return nil, err
	}
	if len(macs) > 0 {
		decline, derr := dhcpv4.New(
			dhcpv4.WithHwAddr(cl.InterfaceAddr()), dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(l.prefix.Addr().AsSlice())),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(raw.ACK.ServerIdentifier())))
		if c.hostName != "" && derr == nil {
			decline.UpdateOption(dhcpv4.OptHostName(c.hostName))
		}
		if derr == nil {
			derr = send(c.device, decline)
		}
		return nil, errors.Join(fmt.Errorf("%w: %s is in use by %s", errInUse, l.prefix.Addr(), macs[0]), derr)
	}
	return l, nil
}

// again renews the lease; any director may answer.
func (c *dhcpClient) again(ctx context.Context, l *lease) (*lease, error) {
	cl, err := c.open()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	request, err := dhcpv4.NewRenewFromAck(l.raw.ACK, c.modifiers()...)
	if err != nil {
		return nil, err
	}
	// Broadcast as in REBINDING (RFC 2131, section 4.3.2): the role may have moved.
	ack, err := cl.SendAndRead(ctx, nclient4.DefaultServers, request,
		nclient4.IsAll(nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak)))
	if err != nil {
		return nil, fmt.Errorf("renew the lease on %s: %w", c.device, err)
	}
	if ack.MessageType() == dhcpv4.MessageTypeNak {
		return nil, &nclient4.ErrNak{Nak: ack}
	}
	fresh, err := newLease(&nclient4.Lease{Offer: l.raw.Offer, ACK: ack, CreationTime: time.Now()})
	if err == nil && fresh.prefix != l.prefix {
		err = fmt.Errorf("the renewed lease is of %s", fresh.prefix)
	}
	return fresh, err
}

// inform asks only where the directors are: this machine has an address already.
func (c *dhcpClient) inform(ctx context.Context, own netip.Addr) ([]netip.AddrPort, error) {
	cl, err := c.open()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	m, err := dhcpv4.NewInform(cl.InterfaceAddr(), own.AsSlice(), c.modifiers()...)
	if err != nil {
		return nil, err
	}
	ack, err := cl.SendAndRead(ctx, nclient4.DefaultServers, m, nclient4.IsAll(nclient4.IsMessageType(dhcpv4.MessageTypeAck), ours))
	if err != nil {
		return nil, fmt.Errorf("no director answers %s on %s: is that its address in the cluster file? Or name a director with --director", own, c.device)
	}
	return directorsOf(ack), nil
}

// release gives the lease back.
func (c *dhcpClient) release(l *lease) error {
	m, err := dhcpv4.NewReleaseFromACK(l.raw.ACK)
	if err != nil {
		return err
	}
	if c.hostName != "" {
		m.UpdateOption(dhcpv4.OptHostName(c.hostName))
	}
	return send(c.device, m)
}

// send broadcasts one message that wants no answer.
func send(device string, m *dhcpv4.DHCPv4) error {
	conn, err := nclient4.NewRawUDPConn(device, nclient4.ClientPort)
	if err != nil {
		return fmt.Errorf("DHCP on %s: %w", device, err)
	}
	defer conn.Close()
	_, err = conn.WriteTo(m.ToBytes(), nclient4.DefaultServers)
	return err
}

func newLease(raw *nclient4.Lease) (*lease, error) {
	ack := raw.ACK
	a := addr4(ack.YourIPAddr)
	bits, size := ack.SubnetMask().Size()
	if !a.IsValid() || a.IsMulticast() || a.IsLoopback() || size != 32 || bits < 8 || bits > 30 {
		return nil, fmt.Errorf("a lease without a sensible address and mask: %s, %s", ack.YourIPAddr, net.IP(ack.SubnetMask()))
	}
	last := ack.IPAddressLeaseTime(leaseTime)
	if last < time.Minute || last > 24*time.Hour {
		return nil, fmt.Errorf("a lease of %v", last)
	}
	l := &lease{
		prefix: netip.PrefixFrom(a, bits), name: ack.HostName(), raw: raw,
		until: raw.CreationTime.Add(last), renew: raw.CreationTime.Add(last / 2),
	}
	for _, r := range ack.Router() {
		if g := addr4(r); g.IsValid() && l.prefix.Contains(g) {
			l.router = g
			break
		}
	}
	l.directors = directorsOf(ack)
	return l, nil
}

func directorsOf(m *dhcpv4.DHCPv4) (all []netip.AddrPort) {
	for _, word := range strings.Fields(strings.TrimPrefix(string(m.GetOneOption(directorsOption)), directorsTag)) {
		if at, err := netip.ParseAddrPort(word); err == nil && len(all) < 4 {
			all = append(all, at)
		}
	}
	return all
}
