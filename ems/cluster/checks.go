package cluster

import (
	"fmt"
	"slices"
	"time"
)

// checks looks for what no single key can know: names that must differ or exist,
// addresses that must fit. It also fills in the defaults that depend on other
// keys. A value that was reported already is not judged again.
type checks struct {
	*reader
	c *Cluster
}

func (k checks) all() {
	k.pair()
	k.delivery()
	k.names()
	machines := k.addresses()
	noCheck := noCheck()
	servers := k.serverNames()
	for i := range k.c.Services {
		s, path := &k.c.Services[i], fmt.Sprintf("services[%d]", i)
		k.vip(s, path, machines)
		k.scheduling(s, path)
		k.persistence(s, path)
		k.check(s, path, noCheck)
		k.servers(s, path, servers)
	}
	k.claims()
}

func (k checks) pair() {
	if n := len(k.c.Directors); k.given("directors") && k.fine("directors") && (n < 1 || n > 2) {
		k.report("directors", "want a list of one or two directors, got %d", n)
	}
	if h := &k.c.HA; k.given("ha.check_ttl") && k.fine("ha.check_ttl") && !h.CheckTTL && !h.Unicast {
		k.report("ha.check_ttl", "may be false only with unicast: true, since no router passes multicast advertisements on")
	}
}

// delivery has two listeners on one machine, and tells real servers by their MAC.
func (k checks) delivery() {
	if d := &k.c.Delivery; d.SSHPort == d.ConfigPort && k.fine("delivery.ssh_port", "delivery.config_port") {
		at, other := "delivery.config_port", "ssh_port"
		if !k.given(at) {
			at, other = "delivery.ssh_port", "config_port"
		}
		k.report(at, "%d is %s already: give each a port of its own", d.SSHPort, other)
	}
	first := map[string]int{}
	for i := range k.c.RealServers {
		mac, path := k.c.RealServers[i].MAC, fmt.Sprintf("realservers[%d].mac", i)
		if mac == "" {
			continue
		}
		if j, taken := first[mac]; taken {
			other := fmt.Sprintf("realservers[%d]", j)
			k.report(path, "%s is the address of %s%s already: each device has its own", mac, other, k.line(other+".mac"))
			continue
		}
		first[mac] = i
	}
}

// names must be unique within their kind.
func (k checks) names() {
	unique(k, "directors", k.c.Directors, func(d *Director) string { return d.Name })
	unique(k, "realservers", k.c.RealServers, func(s *RealServer) string { return s.Name })
	unique(k, "services", k.c.Services, func(s *Service) string { return s.Name })
}

func unique[T any](k checks, list string, all []T, name func(*T) string) {
	first := make(map[string]int, len(all))
	for i := range all {
		path, n := fmt.Sprintf("%s[%d].name", list, i), name(&all[i])
		if n == "" {
			continue
		}
		if j, taken := first[n]; taken {
			other := fmt.Sprintf("%s[%d]", list, j)
			k.report(path, "%q is the name of %s%s already: give each a name of its own", n, other, k.line(other+".name"))
			continue
		}
		first[n] = i
	}
}

// scheduling refuses settings that would silently do nothing.
func (k checks) scheduling(s *Service, path string) {
	if at := path + ".flags"; k.fine(at, path+".scheduler") {
		for _, f := range s.Flags {
			var use []string
			switch f {
			case "sh-port":
				use = []string{"sh"}
			case "mh-port":
				use = []string{"mh"}
			default:
				use = []string{"sh", "mh"}
			}
			if !slices.Contains(use, s.Scheduler) {
				k.report(at, "%s is a flag of the scheduler %s, this service has %s", f, alternatives(use), s.Scheduler)
			}
		}
	}
	if s.OnePacket && s.Protocol != UDP && k.fine(path+".protocol", path+".one_packet") {
		k.report(path+".one_packet", "want a service with protocol udp, this one is %s", s.Protocol)
	}
}

// persistence fits the family of the VIP, and needs connections.
func (k checks) persistence(s *Service, path string) {
	p := &s.Persistence
	path += ".persistence"
	if p.Timeout == 0 {
		return
	}
	if s.OnePacket {
		k.report(path, "has no meaning with one_packet, where no packet knows the one before: leave one of them out")
	}
	if !s.VIP.IsValid() {
		return
	}
	bits := s.VIP.BitLen()
	if p.Netmask == 0 {
		p.Netmask = bits
	}
	if p.Netmask > bits && k.fine(path+".netmask") {
		k.report(path+".netmask", "want an integer from 1 to %d for the IPv4 address %s, got %d", bits, s.VIP, p.Netmask)
	}
}

// servers of a service are real servers, each at most once.
func (k checks) servers(s *Service, path string, known serverNames) {
	first := make(map[string]int, len(s.Servers))
	for i := range s.Servers {
		at := fmt.Sprintf("%s.servers[%d]", path, i)
		server := &s.Servers[i]
		if server.Lower > server.Upper && k.fine(at+".lower", at+".upper") {
			k.report(at+".lower", "want at most upper, which is %d, got %d", server.Upper, server.Lower)
		}
		if server.Name == "" {
			continue
		}
		if j, twice := first[server.Name]; twice {
			k.report(at+".name", "%q is in this list already, as servers[%d]%s: leave one out", server.Name, j,
				k.line(fmt.Sprintf("%s.servers[%d].name", path, j)))
			continue
		}
		first[server.Name] = i
		index, ok := known.index[server.Name]
		if !ok {
			if known.complete && !k.full() {
				k.report(at+".name", "no real server is named %q%s", server.Name, known.hint(server.Name))
			}
			continue
		}
		k.family(s, path, at, index)
	}
}

// family asks for an address that the check can reach. Forwarding itself needs
// none: it goes by the MAC address.
func (k checks) family(s *Service, path, at string, index int) {
	if s.Check.Type == CheckNone || s.Check.Type == "" || !s.VIP.IsValid() {
		return
	}
	which := fmt.Sprintf("realservers[%d]", index)
	rs := &k.c.RealServers[index]
	v6 := s.VIP.Is6()
	if rs.Addr(v6).IsValid() || !rs.Address.IsValid() || !k.fine(which+".address", which+".address6") {
		return
	}
	if v6 {
		k.report(at+".name", "%s has no IPv6 address, which the %s check of %s needs: add address6 to %s%s",
			rs.Name, s.Check.Type, s.VIP, which, k.line(which))
		return
	}
	k.report(at+".name", "%s has no IPv4 address, which the %s check of %s needs: make it the address of %s%s, and the IPv6 one its address6",
		rs.Name, s.Check.Type, s.VIP, which, k.line(which))
}

// serverNames are the real servers by name. They are complete unless one of the
// names was refused: it might be the one that a service means.
type serverNames struct {
	index    map[string]int
	names    []string
	complete bool
}

func (k checks) serverNames() serverNames {
	s := serverNames{index: map[string]int{}, complete: k.fine("realservers")}
	for i := range k.c.RealServers {
		n := k.c.RealServers[i].Name
		if n == "" {
			s.complete = false
			continue
		}
		if _, twice := s.index[n]; twice {
			continue
		}
		s.index[n] = i
		s.names = append(s.names, n)
	}
	return s
}

func (s serverNames) hint(name string) string {
	if h := didYouMean(name, s.names); h != "" {
		return h
	}
	return ": list it under realservers"
}

// noCheck is the check of a service that has none: all defaults, but no type.
func noCheck() Check {
	var c Check
	check().defaults(newReader(""), place{}, &c)
	c.Type = CheckNone
	c.Timeout = time.Second
	return c
}
