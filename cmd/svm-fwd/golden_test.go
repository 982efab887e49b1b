package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/control"
)

var update = flag.Bool("update", false, "write the golden files anew; look at the difference")

// sample has one service of every kind, not in ipvsadm's order.
func sample() control.Status {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return control.Status{
		Version: "v1.2.3", Node: "eds1", Cluster: "shop", Digest: "9d4c2fc9f806a665df1a5280772a5bae", Role: "active",
		Started: start, Configured: start.Add(90 * time.Minute),
		Table:    control.TableStatus{Size: 1000000, Used: 123456, HalfOpen: 42, HalfOpenBound: 250000, StateFile: "/run/svm/flows", Recovered: 99},
		Timeouts: control.Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute},
		Services: []control.Service{
			{
				Name: "dns", VIP: "192.168.1.100", Protocol: "udp", Ports: "53", FirstPort: 53, Scheduler: "rr", OnePacket: true,
				Traffic: control.Traffic{Connections: 99_999_999, Packets: 100_000_000, Bytes: 123_456_789_012},
				Servers: []control.Server{{Name: "eps1", Address: "192.168.2.11", Weight: 1, State: "ready",
					Traffic: control.Traffic{Connections: 99_999_999, Packets: 100_000_000, Bytes: 123_456_789_012}}},
			},
			{
				Name: "web6", VIP: "2001:db8:1::100", Protocol: "tcp", Ports: "80,443", FirstPort: 80, Scheduler: "mh", Flags: []string{"mh-port", "fallback"},
				Persistence: 600 * time.Second, Netmask: 64,
				Servers: []control.Server{{Name: "eps1", Address: "2001:db8:2::11", Weight: 1, Active: 1234567, Inactive: 7654321, State: "ready"}},
			},
			{
				Name: "web", VIP: "192.168.1.100", Protocol: "tcp", Ports: "80", FirstPort: 80, Scheduler: "wlc", Persistence: 300 * time.Second, Netmask: 32,
				Traffic: control.Traffic{Connections: 300, Packets: 4000, Bytes: 500000}, Rates: control.Rates{Connections: 12.5, Packets: 999.4, Bytes: 1e9},
				Servers: []control.Server{
					{Name: "eps2", Address: "192.168.2.12", Weight: 0, Inactive: 3, State: "drain", Why: "its weight is 0: it keeps its connections and gets no new one"},
					{Name: "eps1", Address: "192.168.2.11", MAC: "02:00:00:00:00:0b", Weight: 3, Configured: 3, Active: 7, Inactive: 2, Upper: 1000, Lower: 750, State: "ready",
						Traffic: control.Traffic{Connections: 200, Packets: 3000, Bytes: 400000}, Rates: control.Rates{Connections: 12.5, Packets: 999.4, Bytes: 1e9}},
					{Name: "eps10", Address: "192.168.2.100", State: "unresolved", Why: "no answer to ARP/NDP for 192.168.2.100 on the server network: is it on, on this segment, and is its address right?"},
				},
			},
			{
				Name: "games", VIP: "192.168.1.99", Protocol: "tcp", Ports: "8000-8999", FirstPort: 8000, Scheduler: "sh", Flags: []string{"sh-port"},
				Persistence: 60 * time.Second, Netmask: 24,
				Servers: []control.Server{{Name: "eps1", Address: "192.168.2.11", Weight: 65535, State: "down", Why: "health check: connection refused"}},
			},
			{
				Name: "all", VIP: "192.168.1.101", Protocol: "tcp", Ports: "any", Scheduler: "lc",
				Servers: []control.Server{{Name: "eps1", Address: "192.168.2.11", Weight: 1, State: "overloaded", Why: "it has reached its upper threshold of 10 connections"}},
			},
		},
		Workers: []control.Worker{
			{Received: 1000, Sent: 990, Replies: 3, Dropped: 1, Truncated: 2, Busy: 4, TooLong: 5, Errors: 6, Reasons: map[string]uint64{"known": 900, "scheduled": 90, "no-service": 7, "echo-reply": 3}},
			{Received: 10, Sent: 10, Reasons: map[string]uint64{"known": 10}},
		},
		Neighbours: []control.Neighbour{
			{Address: "192.168.2.11", MAC: "02:00:00:00:00:0b", State: "reachable", LastSeen: start.Add(2*time.Hour - time.Second)},
			{Address: "192.168.2.100", State: "failed"},
		},
		Conflicts: []control.Conflict{{VIP: "192.168.1.100", MAC: "02:00:00:00:00:0c", Device: "eth0", Count: 3, Last: start}},
		Rejected:  "cluster.yaml:3:1: no such key\ncluster.yaml:4:1: another thing",
	}
}

func sampleConnections(visit func(control.Connection) bool) error {
	for _, c := range []control.Connection{
		{Protocol: "TCP", Expires: 899900 * time.Millisecond, State: "ESTABLISHED", Source: "198.51.100.7:40000", Virtual: "192.168.1.100:80", Server: "192.168.2.11:80"},
		{Protocol: "UDP", Expires: 59 * time.Second, State: "UDP", Source: "198.51.100.7:53001", Virtual: "192.168.1.100:53", Server: "192.168.2.11:53"},
		{Protocol: "IP", Expires: 2 * time.Hour, State: "NONE", Source: "198.51.100.0:0", Virtual: "192.168.1.100:80", Server: "192.168.2.11:80"},
		{Protocol: "TCP", Expires: time.Second, State: "SYN_RECV", Source: "[2001:db8:9::1]:40000", Virtual: "[2001:db8:1::100]:443", Server: "[2001:db8:2::11]:443"},
		{Protocol: "TCP", Expires: time.Second, State: "FIN_WAIT", Source: "198.51.100.7:40001", Virtual: "192.168.1.100:80"},
	} {
		if !visit(c) {
			break
		}
	}
	return nil
}

func TestGolden(t *testing.T) {
	s := sample()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "hosts"), "127.0.0.1 localhost # not here\n192.168.1.100\twww.example.org www\n192.168.2.11 eps1\n192.168.2.11 again\n2001:db8:1::100 www6\n::garbage x\n\n")
	put(t, filepath.Join(dir, "services"), "http 80/tcp www\nhttps 443/tcp # tls\ndomain 53/udp\nother 53/udp\n")
	known := readNames(filepath.Join(dir, "hosts"), filepath.Join(dir, "services"))
	show := func(body body, n names, exact bool) func(*bytes.Buffer) {
		return func(b *bytes.Buffer) { (&table{w: b, names: n, body: body, exact: exact}).print(&s) }
	}
	for name, print := range map[string]func(*bytes.Buffer){
		"list":          show(rules, known, false),
		"list-n":        show(rules, names{}, false),
		"stats-n":       show(stats, names{}, false),
		"stats-exact-n": show(stats, names{}, true),
		"rate-n":        show(rates, names{}, false),
		"thresholds-n":  show(thresholds, names{}, false),
		"connections":   func(b *bytes.Buffer) { _ = printConnections(b, known, sampleConnections) },
		"connections-n": func(b *bytes.Buffer) { _ = printConnections(b, names{}, sampleConnections) },
		"why":           func(b *bytes.Buffer) { printWhy(b, &s) },
		"status":        func(b *bytes.Buffer) { _ = printStatus(b, &s, s.Started.Add(2*time.Hour)) },
		"explanation": func(b *bytes.Buffer) {
			printExplanation(b, &control.Explanation{Verdict: "forward", Reason: "scheduled", Service: "web", Server: "eps1", Address: "192.168.2.11", MAC: "02:00:00:00:00:0b", Steps: []string{"one", "two"}})
		},
		"explanation-no": func(b *bytes.Buffer) {
			printExplanation(b, &control.Explanation{Verdict: "drop", Reason: "not-vip", Steps: []string{"no VIP"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			print(&b)
			file := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				put(t, file, b.String())
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", b.String(), want)
			}
		})
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		n           uint64
		want, exact string
	}{
		{0, "        0", "        0"},
		{99_999_999, " 99999999", " 99999999"},
		{100_000_000, "  100000K", " 100000000"},
		{999_999_999, "  999999K", " 999999999"},
		{1_000_000_000, "    1000M", " 1000000000"},
		{99_999_999_999, "   99999M", " 99999999999"},
		{100_000_000_000, "     100G", " 100000000000"},
		{99_999_999_999_999, "   99999G", " 99999999999999"},
		{100_000_000_000_000, "     100T", " 100000000000000"},
		{1<<64 - 1, "18446744T", " 18446744073709551615"},
	} {
		if got := (&table{}).number(tt.n); got != tt.want {
			t.Errorf("%d: got %q, want %q", tt.n, got, tt.want)
		}
		if got := (&table{exact: true}).number(tt.n); got != tt.exact {
			t.Errorf("%d exact: got %q, want %q", tt.n, got, tt.exact)
		}
	}
}
