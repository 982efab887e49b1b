package provision

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/machine"
)

// addressAfter is how long a configured machine may be without its address before the
// agent sets it: networkd, or whatever the machine has, comes first.
const addressAfter = 10 * time.Second

// own is what a confirmed configuration says of this machine's address.
type own struct {
	device string
	prefix netip.Prefix
	router netip.Addr
}

// own is nil as long as nothing is confirmed, or where there is no IPv4 in it.
func (a *Agent) own(st *machine.State) *own {
	c := a.cfg.Cluster()
	if c == nil || st.Confirmed == 0 || st.Phase == machine.Switched || st.Phase == machine.Bare {
		return nil
	}
	var rs *cluster.RealServer
	for _, name := range []string{st.Node, a.cfg.Node} {
		if rs == nil && name != "" {
			rs = c.RealServer(name)
		}
	}
	cidr := c.Networks.Server.CIDR
	if rs == nil || !rs.Addr(false).IsValid() || !cidr.IsValid() || !cidr.Addr().Is4() {
		return nil
	}
	o := &own{device: rs.Device, prefix: netip.PrefixFrom(rs.Addr(false), cidr.Bits())}
	if g := c.Networks.Server.Gateway; g.Is4() {
		o.router = g
	}
	return o
}

// device is where an address may be set; empty: nowhere.
func (a *Agent) device(o *own) (string, error) {
	switch {
	case a.cfg.Device != AutoDevice:
		return a.cfg.Device, nil
	case o != nil:
		return o.device, nil
	case a.placed.device != "":
		return a.placed.device, nil
	}
	return onlyEthernet()
}

// address sees to it that the machine has one: of its configuration, or, as long as it
// has none, by DHCP.
func (a *Agent) address(ctx context.Context, st *machine.State) error {
	o := a.own(st)
	if a.lease != nil {
		if err := a.keepLease(ctx, o); err != nil || a.lease != nil {
			return err
		}
	}
	device, err := a.device(o)
	if err != nil || device == "" {
		return err
	}
	have, err := usable(device)
	if err != nil {
		return err
	}
	switch {
	case have.IsValid():
		a.without = time.Time{}
		if o != nil && o.device == device && expiring(device, o.prefix.Addr()) {
			return a.settle(device, o) // of a lease of an agent before this one
		}
		if o == nil && st.Phase == machine.Bare && len(a.directors(st)) == 0 {
			a.found, err = a.dhcp(device).inform(ctx, have)
		}
		return err
	case o != nil:
		return a.restore(ctx, device, o)
	case st.Phase == machine.Bare || st.Confirmed == 0:
		return a.acquire(ctx, device)
	}
	return nil
}

// keepLease renews the lease, and ends it when it has run out or when the
// configuration has the same address: that is for ever.
func (a *Agent) keepLease(ctx context.Context, o *own) error {
	l, now := a.lease, time.Now()
	switch {
	case o != nil && o.prefix == l.prefix:
		a.lease = nil
		return a.settle(a.placed.device, o)
	case now.After(l.until):
		a.lease = nil
		return errors.Join(fmt.Errorf("the lease of %s has run out", l.prefix), a.placed.undo())
	case now.Before(l.renew):
		return nil
	}
	fresh, err := a.dhcp(a.placed.device).again(ctx, l)
	var nak *nclient4.ErrNak
	switch {
	case errors.As(err, &nak):
		a.lease = nil
		return errors.Join(err, a.placed.undo())
	case err != nil:
		return err
	}
	a.lease, a.found = fresh, fresh.directors
	return a.placed.set(fresh.prefix, fresh.router, time.Until(fresh.until))
}

// settle makes the address lasting: the configuration has confirmed it.
func (a *Agent) settle(device string, o *own) error {
	p := a.placed
	a.placed = placed{} // whatever happens, it isn't taken away any more
	p.device = device
	if err := p.set(o.prefix, o.router, 0); err != nil {
		return err
	}
	a.cfg.Log.Info("the configuration has this machine's address: it stays", "address", o.prefix.String(), "device", device)
	return nil
}

// restore gives a configured machine the address that nobody else gave it.
func (a *Agent) restore(ctx context.Context, device string, o *own) error {
	if a.without.IsZero() {
		a.without = time.Now()
	}
	if time.Since(a.without) < a.after {
		return nil
	}
	p := placed{}
	if err := p.switchOn(device); err != nil {
		return err
	}
	macs, err := probe(ctx, device, netip.Addr{}, o.prefix.Addr())
	if err != nil {
		return err
	}
	if len(macs) > 0 {
		return fmt.Errorf("%w: %s, this machine's address, is in use by %s", errInUse, o.prefix.Addr(), macs[0])
	}
	return a.settle(device, o)
}

// acquire gets a lease and sets it.
func (a *Agent) acquire(ctx context.Context, device string) error {
	if time.Now().Before(a.rest) {
		return nil
	}
	if err := a.placed.switchOn(device); err != nil {
		return err
	}
	l, err := a.dhcp(device).acquire(ctx)
	if errors.Is(err, errInUse) {
		a.rest = time.Now().Add(10 * time.Second)
	}
	if err != nil {
		return err
	}
	if err := a.placed.set(l.prefix, l.router, time.Until(l.until)); err != nil {
		return err
	}
	a.lease, a.found = l, l.directors
	return nil
}
