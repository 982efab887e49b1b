package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/forwarder/control"
)

func TestSummary(t *testing.T) {
	now := time.Now()
	h := summary(&control.Status{
		Role: "active", Digest: "abc", Rejected: "line 3",
		Conflicts: []control.Conflict{
			{VIP: "192.0.2.100", MAC: "02:00:00:00:00:01", Device: "eth0", Last: now.Add(-time.Second)},
			{VIP: "192.0.2.100", MAC: "02:00:00:00:00:02", Device: "eth0", Last: now.Add(-time.Hour)},
		},
		Services: []control.Service{{Name: "web", Servers: []control.Server{
			{Name: "eps1", Weight: 3, State: "ready", Active: 2, Inactive: 3},
			{Name: "eps2", Weight: 1, State: "down", Why: "HTTP status 500"},
		}}},
	}, now)
	want := []push.Backend{
		{Name: "eps1", Weight: 3, Up: true, Connections: 5},
		{Name: "eps2", Weight: 1, Reason: "HTTP status 500"},
	}
	if h.Role != "active" || h.Digest != "abc" || len(h.Services) != 1 || !slices.Equal(h.Services[0].Backends, want) {
		t.Errorf("got %+v", h)
	}
	all := strings.Join(h.Problems, "\n")
	if len(h.Problems) != 2 || !strings.Contains(all, "line 3") || !strings.Contains(all, "02:00:00:00:00:01") {
		t.Errorf("problems: %s", all)
	}
}
