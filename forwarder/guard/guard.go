// Package guard keeps the director's own kernel out of the VIPs' traffic, and
// gives the director a way to reach a VIP on one given real server.
//
// # Silence
//
// A packet socket gets a copy of each frame; the kernel handles the frame as
// well. A blackhole route for each VIP in the main table makes it drop its copy
// without a word, whatever ip_forward and proxy_arp say: no reset, no ICMP error,
// no forwarding, no answer to ARP or NDP. Local sockets without a mark cannot reach
// a VIP either (EINVAL). A foreign rule that sends received packets to another table
// than main, with a route to a VIP, would lead them past the blackhole.
//
// # Paths
//
// A socket with SO_MARK set to a Path's mark reaches the VIP on that very real
// server: a rule sends the mark to a table of its own, which has a route to the
// VIP via the server's address. Marks are Config.Mark+1 to Config.Mark+Servers,
// and mark Config.Mark+n uses table Config.Table+n. The address families are
// apart: one mark serves a server's IPv4 and IPv6 address. The kernel tries rules
// one by one for each packet that it receives, so one rule before them lets packets
// without such a mark jump over all of them.
//
// The answers come in with the VIP as their source, and rp_filter (1 or 2) asks
// the routing tables for the way back to it, without any mark: it would find the
// blackhole and drop them. So for each of the director's addresses on the server
// device there is a second rule, for packets that this host itself sends from that
// address ("iif lo from ADDRESS"), with a table (Config.Table) that has the VIPs on
// the server device. Received packets never meet that rule, and neither do
// unmarked local sockets unless they are bound to that address. It makes checks work with
// rp_filter 0, 1 and 2 and either value of src_valid_mark; nothing has to be set.
// IPv6 needs it only where a firewall does what rp_filter does (firewalld).
//
// # Ownership
//
// Every route and rule carries a protocol number of its own (Config.Protocol).
// All that carries it is ours, also when a process before this one left it behind;
// nothing else is ever touched.
package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
)

// Servers is the largest number of real servers, and of marks.
const Servers = 4095

// Config says which numbers the host leaves to us. Zero values get the defaults.
type Config struct {
	Log *slog.Logger // nil: silent
	// Protocol marks our routes and rules; default 84.
	Protocol uint8
	// RulePriority is the first of three rule priorities: the jump's, the marks'
	// and the answers'. Default 8400; they must be before the main table's 32766.
	RulePriority int
	// Table is the first of Servers+1 table numbers; default 84000.
	Table int
	// Mark is the number before the first mark, a multiple of Servers+1; default 0x53560000.
	Mark uint32
}

// Path says how to reach one VIP on one real server.
type Path struct {
	VIP, Via netip.Addr // of one family; Via is the real server's own address
	Index    int        // of the device that leads to it
	Mark     uint32     // one for each real server: Guard.Mark
}

// State is all that is wanted on the host.
type State struct {
	VIPs  []netip.Addr // silenced
	Paths []Path
}

// Guard sets and removes routes and rules. Its methods may be called by any
// goroutine; they work in the network namespace of the calling thread.
type Guard struct {
	cfg Config
	mu  sync.Mutex
}

// New checks the configuration and changes nothing.
func New(cfg Config) (*Guard, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Protocol == 0 {
		cfg.Protocol = 84
	}
	if cfg.RulePriority == 0 {
		cfg.RulePriority = 8400
	}
	if cfg.Table == 0 {
		cfg.Table = 84000
	}
	if cfg.Mark == 0 {
		cfg.Mark = 0x53560000
	}
	switch {
	case cfg.Protocol < 5:
		return nil, fmt.Errorf("guard: protocol %d belongs to the kernel or the administrator: use one from 5 to 255 that no routing daemon here uses", cfg.Protocol)
	case cfg.RulePriority < 1 || cfg.RulePriority > 32763:
		return nil, fmt.Errorf("guard: rule priority %d: want 1 to 32763, before the main table's rule", cfg.RulePriority)
	case cfg.Table < 256 || cfg.Table > 1<<31-1-Servers:
		return nil, fmt.Errorf("guard: table %d: want 256 to %d", cfg.Table, 1<<31-1-Servers)
	case cfg.Mark&Servers != 0:
		return nil, fmt.Errorf("guard: mark %#x: want a multiple of %#x", cfg.Mark, Servers+1)
	}
	return &Guard{cfg: cfg}, nil
}

// Mark returns the mark of real server number n, 0 to Servers-1.
func (g *Guard) Mark(n int) uint32 { return g.cfg.Mark + 1 + uint32(n) }

// Apply makes the host be as wanted: it reads what is there, adds what is missing
// and removes what is ours and not wanted, also what a killed process left behind.
// Call it again when a device came up or an address of one changed, for the kernel
// removes routes with their device. It does all it can: the error joins what could
// not be done, each part with the command that mends it.
func (g *Guard) Apply(s State) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	want, err := g.plan(s)
	if err != nil {
		return err
	}
	have, err := g.read()
	if err != nil {
		return err
	}
	bad := g.obstacles(s, have)
	for dst := range bad {
		want.drop(dst, have)
	}
	var errs []error
	for _, e := range bad {
		errs = append(errs, e)
	}
	return errors.Join(append(errs, g.change(want, have)...)...)
}

// Undo removes everything of ours.
func (g *Guard) Undo() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	have, err := g.read()
	if err != nil {
		return err
	}
	return errors.Join(g.change(&wanted{}, have)...)
}
