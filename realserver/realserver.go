// Package realserver is the loopback and ARP state of a real server for direct
// routing: read it, plan the change, apply it, check it, undo it.
//
// A real server must take packets for the virtual addresses (VIPs) as its own,
// and must never tell the network that it has them: only the active director
// does. On Linux that is, for IPv4, the VIP as a /32 of scope host on lo with
// arp_ignore=1 and arp_announce=2, and for IPv6 the VIP as a deprecated /128 on
// lo; docs/realserver.md says why, and what was tried.
//
// Everything works in the network namespace of the calling thread, so a caller
// that has entered one with runtime.LockOSThread stays in it. Nothing here keeps
// state in memory: what was there before lives in a state file.
package realserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// DefaultFile is where the state of the host before the first apply is kept.
const DefaultFile = "/var/lib/svm/realserver.json"

// Config is what one real server should look like. The zero Config wants
// nothing: planning for it undoes everything that an earlier apply did.
type Config struct {
	// Device faces the directors, such as eth0.
	Device string
	// VIPs are the virtual addresses that this server serves, of both families.
	VIPs []netip.Addr

	// The rest is looked at by Check alone; what is empty is not checked.

	// Addresses are the server's own, on Device.
	Addresses []netip.Addr
	// Directors are the addresses of the directors: no way to the clients.
	Directors []netip.Addr
	// Gateways are the routers that replies should take, one for each family.
	Gateways []netip.Addr
	// MTU is the size in bytes of the largest packet that directors pass on; 0
	// means 1500.
	MTU int
	// Services are the ports that something should listen on.
	Services []Service
}

// Service is one range of ports on a VIP. One listener inside the range is
// enough.
type Service struct {
	VIP         netip.Addr
	Protocol    string // tcp or udp
	First, Last uint16 // host order, both included
}

// Validate says what makes the configuration unusable; nil if nothing does.
func (c *Config) Validate() error {
	var errs []error
	if len(c.VIPs) > 0 && c.Device == "" {
		errs = append(errs, errors.New("realserver: no device given: name the one that faces the directors, such as eth0"))
	}
	if c.Device == "lo" || c.Device == "all" || c.Device == "default" {
		errs = append(errs, fmt.Errorf("realserver: device %q cannot face the directors: name the Ethernet device", c.Device))
	}
	for _, a := range c.VIPs {
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			errs = append(errs, fmt.Errorf("realserver: VIP %v: want a unicast address that clients can reach", a))
		case a.Is4In6() || a.Zone() != "":
			errs = append(errs, fmt.Errorf("realserver: VIP %v: want a plain address, without zone and not IPv4-mapped", a))
		}
		for _, own := range c.Addresses {
			if own == a {
				errs = append(errs, fmt.Errorf("realserver: VIP %v is also this server's own address: take another VIP", a))
			}
		}
	}
	return errors.Join(errs...)
}

// has tells whether the configuration has a VIP of the family.
func (c *Config) has(v6 bool) bool {
	for _, a := range c.VIPs {
		if a.Is6() == v6 {
			return true
		}
	}
	return false
}

// Apply brings the host to want: lock, Read, refuse what it could not mend,
// Plan, Run. It returns the steps that were taken, none when all was right. After an error the
// steps before it have been taken; a further Apply goes on from there and Undo
// goes back.
func Apply(ctx context.Context, want Config, file string) ([]Step, error) {
	if err := want.Validate(); err != nil {
		return nil, err
	}
	return locked(ctx, file, func(have State) ([]Step, error) {
		var errs []error
		for _, f := range Check(want, have) {
			if f.blocks {
				errs = append(errs, fmt.Errorf("realserver: %s; mend it with: %s", f.Problem, f.Command))
			}
		}
		return Plan(want, have), errors.Join(errs...)
	})
}

// Undo brings the host back to what it was before the first Apply and removes
// the state file. Values that somebody else has changed since are left alone;
// Kept names them beforehand. Without a state file it does nothing.
func Undo(ctx context.Context, file string) ([]Step, error) {
	return locked(ctx, file, func(have State) ([]Step, error) { return PlanUndo(have), nil })
}

// locked reads the host, lets plan decide and takes the steps, while no other
// process does the same on this state file.
func locked(ctx context.Context, file string, plan func(State) ([]Step, error)) ([]Step, error) {
	unlock, err := lock(file)
	if err != nil {
		return nil, err
	}
	defer unlock()
	have, err := Read(ctx, file)
	if err != nil {
		return nil, err
	}
	steps, err := plan(have)
	if err != nil {
		return nil, err
	}
	return steps, Run(ctx, file, steps)
}
