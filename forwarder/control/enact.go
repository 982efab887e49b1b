package control

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder/guard"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

var errEnded = errors.New("this director is going down")

// enact commits a plan and tells everybody outside. The guard comes first, so that
// the kernel keeps quiet before the first frame for a VIP is asked for; when the
// role is given away it goes last. On an error the old state is back, but for a
// role that is given away: the other director has it then, whatever fails here.
func (c *Control) enact(p *plan) error {
	vips := p.cluster.VIPs()
	filter := pktio.Filter{}
	guarded := guard.State{Paths: c.paths(p.cluster)}
	if p.active {
		filter = pktio.Filter{MACs: [][6]byte{c.cfg.ClientMAC}, Addrs: vips}
		guarded.VIPs = vips
	}
	leaving := c.active && !p.active
	if leaving {
		c.cfg.Neighbours.SetVIPs(vips, c.cfg.ClientMAC, false)
	} else if err := c.cfg.Guard.Apply(guarded); err != nil {
		return errors.Join(err, c.cfg.Guard.Apply(c.guarded))
	}
	err := c.cfg.Filter.SetFilter(filter)
	if err == nil || leaving {
		err = errors.Join(err, c.commit(p))
	}
	if err != nil && !leaving {
		return errors.Join(err, c.cfg.Filter.SetFilter(c.filter), c.cfg.Guard.Apply(c.guarded))
	}
	c.filter, c.guarded = filter, guarded
	c.cfg.Health.Set(c.targets(p.cluster))
	servers := addresses(p.cluster)
	c.marks.keep(servers)
	maps.DeleteFunc(c.asked, func(a netip.Addr, _ time.Time) bool { return !slices.Contains(servers, a) })
	c.cfg.Neighbours.SetTargets(servers)
	if leaving {
		err = errors.Join(err, c.cfg.Guard.Apply(guarded)) // if it fails it is tried again soon: see reguard
	} else {
		c.cfg.Neighbours.SetVIPs(vips, c.cfg.ClientMAC, p.active && !c.mute)
	}
	if c.cfg.OnVIPs != nil {
		c.cfg.OnVIPs(vips)
	}
	return err
}

// change plans for a cluster file and a role, and enacts it.
func (c *Control) change(conf *cluster.Cluster, active bool) error {
	if c.ended {
		return errEnded
	}
	p, err := c.plan(conf, active)
	if err != nil {
		return err
	}
	return c.enact(p)
}

// refresh makes a new Snapshot after the neighbours, the health or an override changed.
func (c *Control) refresh() error {
	p, err := c.plan(c.cluster, c.active)
	if err != nil {
		return err
	}
	return c.commit(p)
}
