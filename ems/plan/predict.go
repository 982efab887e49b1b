package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/svm-cluster/svm/ems/cluster"
)

// Count is how many connections one backend has, as the active director says.
type Count struct {
	Service, Server string
	Connections     int
}

// Moves is what becomes of the connections of the old file's services, in its order.
type Moves struct{ Services []Move }

// Move is what becomes of one service's connections.
type Move struct {
	Service string
	Cut     []Cut // backends that go, with their connections
	// Known: Broken is a number that may be relied on. It is 0 for certain where no
	// backend goes, and unknown where one goes that the director said nothing of.
	Known       bool
	Broken      int
	Connections int      // of the whole service, as far as the director said
	Notes       []string // what else clients may meet
}

// Cut is one backend that goes.
type Cut struct {
	Server, Why string
	Known       bool
	Connections int
}

// Total adds all services up; known is false where it is unknown for one of them.
func (m Moves) Total() (broken int, known bool) {
	known = true
	for _, s := range m.Services {
		broken += s.Broken
		known = known && s.Known
	}
	return broken, known
}

// point is what a director knows a backend by besides the service: a connection
// lives as long as its backend does (docs/architecture.md, "Backends and the
// connection table"). Weights, schedulers, order, additions and ports don't end one.
type point struct {
	vip      netip.Addr
	protocol cluster.Protocol
	server   netip.Addr
}

// backend is one of the old file.
type backend struct {
	service int
	first   uint16 // port
	name    string // of the service
	kept    bool
}

// Predict tells which connections would break if now replaced old, which may be nil.
// live is what the active director counts; what it lacks is unknown, not 0.
func Predict(old, now *cluster.Cluster, live []Count) Moves {
	var m Moves
	if old == nil {
		return m
	}
	all := map[point][]*backend{}
	list := make([][]*backend, len(old.Services))
	addrs, fresh := addresses(old), addresses(now)
	for i := range old.Services {
		s := &old.Services[i]
		for _, v := range s.Servers {
			b := &backend{service: i, first: s.Ports[0].First, name: s.Name}
			at := point{s.VIP, s.Protocol, addrs[v.Name]}
			all[at] = append(all[at], b)
			list[i] = append(list[i], b)
		}
	}
	for i := range now.Services {
		s := &now.Services[i]
		for _, v := range s.Servers {
			keep(all[point{s.VIP, s.Protocol, fresh[v.Name]}], s)
		}
	}
	counts := map[[2]string]int{}
	for _, c := range live {
		counts[[2]string{c.Service, c.Server}] += c.Connections
	}
	for i := range old.Services {
		s := &old.Services[i]
		move := Move{Service: s.Name, Known: true}
		for j, v := range s.Servers {
			n, known := counts[[2]string{s.Name, v.Name}]
			move.Connections += n
			if list[i][j].kept {
				continue
			}
			move.Cut = append(move.Cut, Cut{v.Name, why(s, v.Name, addrs, fresh, now), known, n})
			move.Broken += n
			move.Known = move.Known && known
		}
		if !move.Known {
			move.Broken = 0
		}
		move.Notes = notes(s, now.Service(s.Name))
		m.Services = append(m.Services, move)
	}
	return m
}

// keep finds the backend that one of the new file continues: that of the service's
// name, else that of its first port.
func keep(all []*backend, s *cluster.Service) {
	var found *backend
	for _, b := range all {
		if b.kept {
			continue
		}
		if b.name == s.Name {
			found = b
			break
		}
		if found == nil && b.first == s.Ports[0].First {
			found = b
		}
	}
	if found != nil {
		found.kept = true
	}
}

func addresses(c *cluster.Cluster) map[string]netip.Addr {
	all := make(map[string]netip.Addr, len(c.RealServers))
	for _, rs := range c.RealServers {
		all[rs.Name] = rs.Address
	}
	return all
}

func why(s *cluster.Service, server string, was, is map[string]netip.Addr, now *cluster.Cluster) string {
	t := now.Service(s.Name)
	switch {
	case t == nil:
		return "the service goes"
	case t.VIP != s.VIP:
		return fmt.Sprintf("the VIP becomes %s", t.VIP)
	case t.Protocol != s.Protocol:
		return fmt.Sprintf("the protocol becomes %s", t.Protocol)
	case !slices.ContainsFunc(t.Servers, func(v cluster.Server) bool { return v.Name == server }):
		return "removed from the service"
	case was[server] != is[server]:
		return fmt.Sprintf("its address becomes %s", is[server])
	}
	return "its place is taken by another service"
}

// notes are for what ends no connection but may be noticed.
func notes(s, t *cluster.Service) []string {
	var all []string
	if t == nil || t.VIP != s.VIP || t.Protocol != s.Protocol {
		return nil
	}
	if s.Persistence.Timeout != 0 && s.Persistence != t.Persistence {
		all = append(all, "persistence changes: clients may meet another server with their next connection")
	}
	for _, r := range s.Ports {
		if !covered(t.Ports, r) {
			all = append(all, "ports go: what is connected stays, new connections to them don't come here")
			break
		}
	}
	return all
}

// covered tells whether ports, sorted and disjoint, hold all of r.
func covered(ports cluster.Ports, r cluster.PortRange) bool {
	return slices.ContainsFunc(ports, func(p cluster.PortRange) bool { return p.First <= r.First && r.Last <= p.Last })
}
