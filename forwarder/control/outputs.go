package control

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder/guard"
	"github.com/svm-cluster/svm/forwarder/health"
)

// targets are the health checks. A server is checked at the VIP through the path
// that its mark leads along.
func (c *Control) targets(conf *cluster.Cluster) []health.Target {
	var list []health.Target
	for i := range conf.Services {
		s := &conf.Services[i]
		if s.Check.Type == cluster.CheckNone {
			continue
		}
		for _, v := range s.Servers {
			rs := conf.RealServer(v.Name)
			list = append(list, health.Target{
				Key:        targetKey(s, rs.Name),
				Addr:       netip.AddrPortFrom(s.VIP, s.Check.Port),
				Mark:       c.markOf(rs.Address),
				Server:     rs.Name,
				ServerAddr: rs.Address,
				Spec: health.Spec{
					Type: string(s.Check.Type), Path: s.Check.Path, Host: s.Check.Host, Status: s.Check.Status,
					Send: s.Check.Send, Expect: s.Check.Expect, Command: s.Check.Command,
					VerifyCertificate: s.Check.VerifyCertificate,
					Interval:          s.Check.Interval, Timeout: s.Check.Timeout,
					Rise: s.Check.Rise, Fall: s.Check.Fall,
				},
			})
		}
	}
	return list
}

func targetKey(s *cluster.Service, server string) string { return s.Name + "/" + server }

// paths lead marked sockets to a VIP on one given real server.
func (c *Control) paths(conf *cluster.Cluster) []guard.Path {
	var list []guard.Path
	for i := range conf.Services {
		s := &conf.Services[i]
		if s.Check.Type == cluster.CheckNone || c.cfg.Mark == nil {
			continue
		}
		for _, v := range s.Servers {
			rs := conf.RealServer(v.Name)
			p := guard.Path{VIP: s.VIP, Via: rs.Addr(s.VIP.Is6()), Index: c.cfg.ServerIndex, Mark: c.markOf(rs.Address)}
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

func (c *Control) markOf(server netip.Addr) uint32 {
	if c.cfg.Mark == nil {
		return 0
	}
	return c.cfg.Mark(c.marks.of(server))
}

// marks numbers real servers; a number stays with its server as long as that is in use.
type marks map[netip.Addr]int

// of returns the server's number, the lowest free one if it has none yet.
func (m marks) of(a netip.Addr) int {
	n, ok := m[a]
	if !ok {
		used := map[int]bool{}
		for _, v := range m {
			used[v] = true
		}
		for used[n] {
			n++
		}
		m[a] = n
	}
	return n
}

// keep forgets every server but these.
func (m marks) keep(servers []netip.Addr) {
	maps.DeleteFunc(m, func(a netip.Addr, _ int) bool { return !slices.Contains(servers, a) })
}

// addresses are the real servers that some service uses.
func addresses(conf *cluster.Cluster) []netip.Addr {
	var list []netip.Addr
	for _, s := range conf.Services {
		for _, v := range s.Servers {
			if a := conf.RealServer(v.Name).Address; !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list
}
