package control

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/svm-cluster/svm/forwarder"
)

// MetricsHandler serves Collector, the pair's metrics if there is one, and Go's own metrics in Prometheus's formats.
func (c *Control) MetricsHandler() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(c.Collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if c.cfg.Pair != nil {
		r.MustRegister(newPairCollector(c.cfg.Pair.Status))
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Collector reads the director's state when it is asked, and keeps none itself.
// Counters begin at 0 when the daemon starts, those of a server also when the
// server was taken out and comes back.
func (c *Control) Collector() prometheus.Collector { return newCollector(c.Status) }

// collector turns a Status into metrics.
type collector struct {
	status   func() Status
	verdicts map[string]string // by reason
	all      []*prometheus.Desc

	info, active, started, configured, rejected                        *prometheus.Desc
	entries, size, halfOpen, halfOpenLimit, recovered                  *prometheus.Desc
	connections, packets, bytes, activeConns, inactiveConns            *prometheus.Desc
	weight, ready, state                                               *prometheus.Desc
	received, ringDropped, truncated, sent, sendFailed, replies, frame *prometheus.Desc
	resolved, macChanges, conflicts                                    *prometheus.Desc
}

func newCollector(status func() Status) *collector {
	m := &collector{status: status, verdicts: map[string]string{}}
	for r := range forwarder.NumReasons {
		m.verdicts[r.String()] = r.Verdict().String()
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("svm_"+name, help, labels, nil)
		m.all = append(m.all, d)
		return d
	}
	m.info = desc("director_info", "Always 1; its labels say which director this is.", "version", "node", "cluster", "digest")
	m.active = desc("active", "1 if this director is the active one of the pair, 0 if it is the backup.")
	m.started = desc("start_time_seconds", "When the daemon started, in Unix time.")
	m.configured = desc("config_time_seconds", "When the cluster file in force was taken over, in Unix time.")
	m.rejected = desc("config_rejected", "1 if the last reload was refused.")

	m.entries = desc("table_entries", "Entries of the connection table in use, with templates and fragments.")
	m.size = desc("table_size_entries", "Entries that the connection table can hold.")
	m.halfOpen = desc("table_half_open_entries", "Entries of connections that are not confirmed yet.")
	m.halfOpenLimit = desc("table_half_open_limit_entries", "Entries that unconfirmed connections may fill.")
	m.recovered = desc("table_recovered_entries", "Entries taken over from a former process at start.")

	m.connections = desc("server_connections_total", "Connections given to the server.", "service", "server")
	m.packets = desc("server_packets_total", "Packets sent to the server.", "service", "server")
	m.bytes = desc("server_bytes_total", "Bytes of IP packets sent to the server.", "service", "server")
	m.activeConns = desc("server_active_connections", "Connections of the server that are established.", "service", "server")
	m.inactiveConns = desc("server_inactive_connections", "Connections of the server in any other state.", "service", "server")
	m.weight = desc("server_weight", "Weight in force.", "service", "server")
	m.ready = desc("server_ready", "1 if the server gets new connections.", "service", "server")
	m.state = desc("server_state", "1 for the state that the server is in.", "service", "server", "state")

	m.received = desc("worker_received_frames_total", "Frames received from the client network.", "worker")
	m.ringDropped = desc("worker_ring_dropped_frames_total", "Frames that the kernel dropped because the receive ring was full.", "worker")
	m.truncated = desc("worker_truncated_frames_total", "Frames longer than could be fetched.", "worker")
	m.sent = desc("worker_sent_frames_total", "Frames sent to real servers.", "worker")
	m.sendFailed = desc("worker_send_failed_frames_total", "Frames that could not be sent: device queue full (busy), longer than the device takes (too-long), or an error.", "worker", "reason")
	m.replies = desc("worker_reply_frames_total", "Frames that the director itself sent back to the client network.", "worker")
	m.frame = desc("worker_frames_total", "Frames by what became of them, and why.", "worker", "verdict", "reason")

	m.resolved = desc("neighbour_resolved", "1 if the MAC address of the real server is known.", "address")
	m.macChanges = desc("neighbour_mac_changes_total", "How often the real server's MAC address became another one.", "address")
	m.conflicts = desc("vip_conflicts_total", "How often another host answered for the VIP.", "vip")
	return m
}

// Describe implements prometheus.Collector.
func (m *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := m.status()
	gauge(m.info, 1, s.Version, s.Node, s.Cluster, s.Digest)
	gauge(m.active, one(s.Role == "active"))
	gauge(m.started, float64(s.Started.UnixMilli())/1000)
	gauge(m.configured, float64(s.Configured.UnixMilli())/1000)
	gauge(m.rejected, one(s.Rejected != ""))

	gauge(m.entries, float64(s.Table.Used))
	gauge(m.size, float64(s.Table.Size))
	gauge(m.halfOpen, float64(s.Table.HalfOpen))
	gauge(m.halfOpenLimit, float64(s.Table.HalfOpenBound))
	gauge(m.recovered, float64(s.Table.Recovered))

	for i := range s.Services {
		for j := range s.Services[i].Servers {
			m.server(ch, s.Services[i].Name, &s.Services[i].Servers[j])
		}
	}
	for i := range s.Workers {
		m.worker(ch, strconv.Itoa(i), &s.Workers[i])
	}
	for _, n := range s.Neighbours {
		gauge(m.resolved, one(n.MAC != ""), n.Address)
		ch <- prometheus.MustNewConstMetric(m.macChanges, prometheus.CounterValue, float64(n.Changes), n.Address)
	}
	for _, f := range s.Conflicts {
		ch <- prometheus.MustNewConstMetric(m.conflicts, prometheus.CounterValue, float64(f.Count), f.VIP)
	}
}

func (m *collector) server(ch chan<- prometheus.Metric, service string, v *Server) {
	put := func(d *prometheus.Desc, t prometheus.ValueType, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, n, append([]string{service, v.Name}, labels...)...)
	}
	put(m.connections, prometheus.CounterValue, float64(v.Traffic.Connections))
	put(m.packets, prometheus.CounterValue, float64(v.Traffic.Packets))
	put(m.bytes, prometheus.CounterValue, float64(v.Traffic.Bytes))
	put(m.activeConns, prometheus.GaugeValue, float64(v.Active))
	put(m.inactiveConns, prometheus.GaugeValue, float64(v.Inactive))
	put(m.weight, prometheus.GaugeValue, float64(v.Weight))
	put(m.ready, prometheus.GaugeValue, one(v.State == "ready"))
	for _, state := range states {
		put(m.state, prometheus.GaugeValue, one(v.State == state), state)
	}
}

// states are what Server.State can be.
var states = [...]string{"ready", "drain", "maint", "down", "checking", "unresolved", "overloaded"}

func (m *collector) worker(ch chan<- prometheus.Metric, name string, w *Worker) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{name}, labels...)...)
	}
	count(m.received, w.Received)
	count(m.ringDropped, w.Dropped)
	count(m.truncated, w.Truncated)
	count(m.sent, w.Sent)
	count(m.sendFailed, w.Busy, "busy")
	count(m.sendFailed, w.TooLong, "too-long")
	count(m.sendFailed, w.Errors, "error")
	count(m.replies, w.Replies)
	for reason, n := range w.Reasons {
		count(m.frame, n, m.verdicts[reason], reason)
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
