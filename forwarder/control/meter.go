package control

import (
	"time"

	"github.com/svm-cluster/svm/forwarder"
)

// meterInterval is how often rates are measured. IPVS measures every two seconds
// and lets a quarter of the difference in; so do we.
const meterInterval = 2 * time.Second

// meter turns a backend's counters into rates.
type meter struct {
	last  Traffic
	rates Rates
}

// measure is called once each meterInterval.
func (c *Control) measure() {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := make(map[*forwarder.Stats]*meter, len(c.meters))
	for _, list := range c.servers {
		for _, st := range list {
			stats := st.record.stats
			m := c.meters[stats]
			if m == nil {
				m = &meter{}
			}
			m.step(trafficOf(stats))
			fresh[stats] = m
		}
	}
	c.meters = fresh
}

func (m *meter) step(t Traffic) {
	follow := func(rate *float64, was, is uint64) {
		*rate += (float64(is-was)/meterInterval.Seconds() - *rate) / 4
	}
	follow(&m.rates.Connections, m.last.Connections, t.Connections)
	follow(&m.rates.Packets, m.last.Packets, t.Packets)
	follow(&m.rates.Bytes, m.last.Bytes, t.Bytes)
	m.last = t
}

func trafficOf(s *forwarder.Stats) Traffic {
	return Traffic{Connections: s.Connections.Load(), Packets: s.Packets.Load(), Bytes: s.Bytes.Load()}
}

func (t *Traffic) add(o Traffic) {
	t.Connections += o.Connections
	t.Packets += o.Packets
	t.Bytes += o.Bytes
}

func (r *Rates) add(o Rates) {
	r.Connections += o.Connections
	r.Packets += o.Packets
	r.Bytes += o.Bytes
}
