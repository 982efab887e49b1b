package control

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func sampleStatus() Status {
	return Status{
		Version: "v1.2.3", Node: "eds1", Cluster: "shop", Digest: "d1", Role: "active", Rejected: "no",
		Started: time.UnixMilli(1_700_000_000_500), Configured: time.Unix(1_700_000_100, 0),
		Table: TableStatus{Size: 1000, Used: 10, HalfOpen: 3, HalfOpenBound: 250, Recovered: 4},
		Services: []Service{{Name: "web", Servers: []Server{
			{Name: "eps1", Weight: 3, Active: 5, Inactive: 2, Traffic: Traffic{Connections: 7, Packets: 70, Bytes: 7000}, State: "ready"},
			{Name: "eps2", State: "down"},
		}}},
		Workers: []Worker{{
			Received: 100, Dropped: 1, Truncated: 2, Sent: 90, Busy: 3, TooLong: 4, Errors: 5, Replies: 6,
			Reasons: map[string]uint64{"known": 80, "no-service": 9, "echo-reply": 6},
		}, {Reasons: map[string]uint64{"known": 1}}},
		Neighbours: []Neighbour{{Address: "192.168.2.11", MAC: "02:00:00:00:00:0b", Changes: 2}, {Address: "192.168.2.12"}},
		Conflicts:  []Conflict{{VIP: "192.168.1.100", Count: 8}},
	}
}

func TestMetrics(t *testing.T) {
	c := newCollector(sampleStatus)
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	text := scrape(t, r)
	for _, want := range []string{
		`svm_director_info{cluster="shop",digest="d1",node="eds1",version="v1.2.3"} 1`,
		"svm_active 1", "svm_config_rejected 1", "svm_start_time_seconds 1.7000000005e+09", "svm_config_time_seconds 1.7000001e+09",
		"svm_table_entries 10", "svm_table_size_entries 1000", "svm_table_half_open_entries 3", "svm_table_half_open_limit_entries 250", "svm_table_recovered_entries 4",
		`svm_server_connections_total{server="eps1",service="web"} 7`,
		`svm_server_packets_total{server="eps1",service="web"} 70`,
		`svm_server_bytes_total{server="eps1",service="web"} 7000`,
		`svm_server_active_connections{server="eps1",service="web"} 5`,
		`svm_server_inactive_connections{server="eps1",service="web"} 2`,
		`svm_server_weight{server="eps1",service="web"} 3`,
		`svm_server_ready{server="eps1",service="web"} 1`, `svm_server_ready{server="eps2",service="web"} 0`,
		`svm_server_state{server="eps2",service="web",state="down"} 1`, `svm_server_state{server="eps2",service="web",state="ready"} 0`,
		`svm_worker_received_frames_total{worker="0"} 100`, `svm_worker_ring_dropped_frames_total{worker="0"} 1`,
		`svm_worker_truncated_frames_total{worker="0"} 2`, `svm_worker_sent_frames_total{worker="0"} 90`,
		`svm_worker_send_failed_frames_total{reason="busy",worker="0"} 3`, `svm_worker_send_failed_frames_total{reason="too-long",worker="0"} 4`,
		`svm_worker_send_failed_frames_total{reason="error",worker="0"} 5`, `svm_worker_reply_frames_total{worker="0"} 6`,
		`svm_worker_frames_total{reason="known",verdict="forward",worker="0"} 80`,
		`svm_worker_frames_total{reason="no-service",verdict="drop",worker="0"} 9`,
		`svm_worker_frames_total{reason="echo-reply",verdict="reply",worker="0"} 6`,
		`svm_worker_frames_total{reason="known",verdict="forward",worker="1"} 1`,
		`svm_neighbour_resolved{address="192.168.2.11"} 1`, `svm_neighbour_resolved{address="192.168.2.12"} 0`,
		`svm_neighbour_mac_changes_total{address="192.168.2.11"} 2`, `svm_vip_conflicts_total{vip="192.168.1.100"} 8`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestMetricsOfDirector: a real director's state collects without an error, and
// every state a server can be in is one of the metric's.
func TestMetricsOfDirector(t *testing.T) {
	d := newDirector(t, farm)
	d.connect(client(1), web)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(d.Collector())
	if text := scrape(t, r); !strings.Contains(text, `svm_server_active_connections{server="eps1",service="web"} 1`) {
		t.Error(text)
	}
	w := httptest.NewRecorder()
	d.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if body, _ := io.ReadAll(w.Body); w.Code != 200 || !strings.Contains(string(body), "go_goroutines") {
		t.Errorf("status %d: %s", w.Code, body)
	}
}

func scrape(t *testing.T, r *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return "\n" + w.Body.String()
}
