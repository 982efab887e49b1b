package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/control"
)

func TestChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*control.Status)
		want   []string
	}{
		{"nothing", func(*control.Status) {}, nil},
		{"counters only", func(s *control.Status) { s.Services[2].Servers[1].Traffic.Packets++; s.Table.Used++ }, nil},
		{"role", func(s *control.Status) { s.Role = "backup" }, []string{"eds1 is backup now"}},
		{"reload", func(s *control.Status) { s.Digest = "abc" }, []string{"configuration abc taken over"}},
		{"refused", func(s *control.Status) { s.Rejected = "no" }, []string{"a reload was refused: no"}},
		{"accepted", func(s *control.Status) { s.Rejected = "" }, nil},
		{"restart", func(s *control.Status) { s.Started = s.Started.Add(time.Second) }, []string{"the daemon was started anew, 99 connections recovered"}},
		{"down", func(s *control.Status) { v := &s.Services[2].Servers[1]; v.State, v.Why = "down", "refused" }, []string{"web eps1 is down, was ready: refused"}},
		{"up", func(s *control.Status) { v := &s.Services[3].Servers[0]; v.State, v.Why = "ready", "" }, []string{"games eps1 is ready, was down"}},
		{"weight", func(s *control.Status) { s.Services[2].Servers[1].Weight = 9 }, []string{"web eps1 has weight 9, was 3"}},
		{"MAC", func(s *control.Status) { s.Services[2].Servers[1].MAC = "02:00:00:00:00:ff" },
			[]string{"web eps1 has another MAC address: 02:00:00:00:00:ff, was 02:00:00:00:00:0b"}},
		{"server gone", func(s *control.Status) { s.Services[2].Servers = s.Services[2].Servers[1:] }, []string{"web eps2 is gone"}},
		{"server new", func(s *control.Status) {
			s.Services[0].Servers = append(s.Services[0].Servers, control.Server{Name: "eps7", State: "checking", Weight: 2})
		}, []string{"dns eps7 is new: checking, weight 2"}},
		{"conflict", func(s *control.Status) { s.Conflicts[0].Count++ }, []string{"CONFLICT: 02:00:00:00:00:0c also answers for 192.168.1.100 on eth0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			was, is := sample(), sample()
			tt.change(&is)
			if got := changes(&was, &is); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTop(t *testing.T) {
	was, is := sample(), sample()
	v := &is.Services[2].Servers
	(*v)[1].Traffic.Connections += 20
	(*v)[1].Traffic.Packets += 300
	(*v)[1].Traffic.Bytes += 500_000
	(*v)[0].Traffic.Packets += 100
	is.Services[0].Servers[0].Traffic = control.Traffic{} // began anew
	is.Workers[1].Dropped = 7
	var b strings.Builder
	printTop(&b, &was, &is, 2*time.Second)
	for _, want := range []string{
		"eds1 active  table 12.3 % of 1000000  half-open 42 of 250000  frames lost 7\n",
		"SERVICE  SERVER  STATE       WEIGHT  ACTIVE   INACTIVE  CONN/S  PKT/S  MBIT/S  SHARE\n",
		"web      eps1    ready       3       7        2         10.0    150    2.00    ###############\n",
		"web      eps2    drain       0       0        3         0.0     50     0.00    #####\n",
		"dns      eps1    ready       1       0        0         0.0     0      0.00    \n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
