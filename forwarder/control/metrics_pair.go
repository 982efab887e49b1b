package control

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/svm-cluster/svm/ha/flowsync"
)

// pairCollector turns a PairStatus into metrics.
type pairCollector struct {
	status func() PairStatus
	all    []*prometheus.Desc

	priority, authenticated, transitions, reports, received, sent        *prometheus.Desc
	session, synced, records, bytes, resent, lost, refused, clashes, lag *prometheus.Desc
}

func newPairCollector(status func() PairStatus) *pairCollector {
	m := &pairCollector{status: status}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("svm_"+name, help, labels, nil)
		m.all = append(m.all, d)
		return d
	}
	m.priority = desc("ha_priority", "Priority in force in the election.")
	m.authenticated = desc("ha_authenticated", "1 if advertisements are authenticated.")
	m.transitions = desc("ha_transitions_total", "Changes of role.")
	m.reports = desc("ha_reports_total", "What the election noticed, such as split-brain or clock-stall.", "kind")
	m.received = desc("ha_received_packets_total", "Packets of the election by what came of them.", "reason")
	m.sent = desc("ha_sent_packets_total", "Packets of the election that were sent.")
	m.session = desc("sync_session", "1 if there is a session with the other director.")
	m.synced = desc("sync_complete", "1 if the backup of the two has all connections.")
	m.records = desc("sync_records_total", "Connections told to the other director and heard from it.", "direction")
	m.bytes = desc("sync_bytes_total", "Bytes of the connections' copy.", "direction")
	m.resent = desc("sync_resent_datagrams_total", "Datagrams of the copy that were sent again.")
	m.lost = desc("sync_lost_changes_total", "Changes that had to be made up for by a walk through the table.")
	m.refused = desc("sync_refused_total", "Datagrams and records that were refused.", "reason")
	m.clashes = desc("sync_clashes_total", "Times that both directors were seen active.")
	m.lag = desc("sync_lag_seconds", "Time until the last change was confirmed.")
	return m
}

// Describe implements prometheus.Collector.
func (m *pairCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *pairCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	p := m.status()
	gauge(m.priority, float64(p.HA.Priority))
	gauge(m.authenticated, one(p.HA.Authenticated))
	count(m.transitions, p.HA.Transitions)
	for kind, n := range p.HA.Reports {
		count(m.reports, n, kind)
	}
	for reason, n := range p.HA.Received {
		count(m.received, n, reason)
	}
	count(m.sent, p.HA.Sent)
	s := p.Sync
	if s == nil {
		return
	}
	gauge(m.session, one(s.Session))
	gauge(m.synced, one(s.Synced || s.PeerSynced))
	count(m.records, s.RecordsOut, "out")
	count(m.records, s.RecordsIn, "in")
	count(m.bytes, s.BytesOut, "out")
	count(m.bytes, s.BytesIn, "in")
	count(m.resent, s.Resent)
	count(m.lost, s.Lost)
	for r, n := range s.Refused {
		if flowsync.Reason(r) != flowsync.Accepted {
			count(m.refused, n, flowsync.Reason(r).String())
		}
	}
	count(m.clashes, s.Clashes)
	gauge(m.lag, s.Lag.Seconds())
}
