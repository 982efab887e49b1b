package forwarder

import (
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// Persistence keeps a template per client network: an entry of the same table
// that leads to a backend. One that only a SYN made counts as half-open and lives
// no longer; the first confirmed connection gives it the service's timeout.

func (c *Core) templateKey(s *Service, k *frame.Key) frame.Key {
	return k.Template(s.MaskHi, s.MaskLo, s.Proto, s.Ports[0].First)
}

// remembered returns the backend that persistence wants for the packet's client,
// nil when there is none or it takes no new connection: a backend that leaves, is
// down or quiesced loses its clients to the scheduler.
func (c *Core) remembered(s *Service, p *frame.Packet) *Backend {
	if s.Persistence == 0 {
		return nil
	}
	k := c.templateKey(s, &p.Key)
	e, ok := c.table.Lookup(&k, c.table.Hash(&k))
	if !ok {
		return nil
	}
	b := c.backend(e.Meta.Backend())
	if b == nil || !b.Accepting || !b.Resolved || b.Cut || c.now.Until(c.table.Deadline(e)) <= 0 {
		c.table.Remove(e, c)
		return nil
	}
	return b
}

// makeTemplate remembers a scheduler's pick.
func (c *Core) makeTemplate(s *Service, b *Backend, p *frame.Packet) {
	k := c.templateKey(s, &p.Key)
	e, r := c.table.Insert(&k, c.table.Hash(&k), flow.MakeMeta(flow.TemplateNew, b.Ref), c.deadline(flow.TemplateNew), c.now, c)
	if r == flow.Inserted {
		c.tell(e)
	}
}

// keepTemplate gives the template of a confirmed connection its full time, as
// long as it leads to the same backend.
func (c *Core) keepTemplate(p *frame.Packet, b *Backend) {
	s := b.Service
	k := c.templateKey(s, &p.Key)
	e, ok := c.table.Lookup(&k, c.table.Hash(&k))
	if !ok || e.Meta.Backend() != b.Ref {
		return
	}
	c.table.Extend(e, c.now+flow.Tick(s.Persistence))
	if e.Meta.State() == flow.TemplateNew && c.table.Update(&e, e.Meta.With(flow.Template), c) {
		c.tell(e)
	}
}
