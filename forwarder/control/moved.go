package control

import "net/netip"

// moved finds the real servers whose MAC address is another one than when it was
// last known, and makes the kernel, whose own table the health checks go by, ask
// for all their addresses again: it could take it most of a minute to notice, and
// the server would be down so long.
func (c *Control) moved(p *plan) {
	macs := make(map[netip.Addr][6]byte, len(p.cluster.RealServers))
	for i := range p.cluster.RealServers {
		rs := &p.cluster.RealServers[i]
		last, known := c.lastMACs[rs.Address]
		if known {
			macs[rs.Address] = last
		}
		mac, ok := c.cfg.Neighbours.Lookup(rs.Address)
		if !ok {
			continue
		}
		macs[rs.Address] = mac
		if !known || last == mac {
			continue
		}
		var addrs []netip.Addr
		for _, v6 := range []bool{false, true} {
			if a := rs.Addr(v6); a.IsValid() {
				addrs = append(addrs, a)
			}
		}
		if err := c.cfg.Guard.Relearn(c.cfg.ServerIndex, addrs...); err != nil {
			c.cfg.Log.Warn("health checks may miss a server's new MAC address for a minute", "server", rs.Name, "err", err)
		}
	}
	c.lastMACs = macs
}
