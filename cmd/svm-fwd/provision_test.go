package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder/control"
)

const pairYAML = `cluster: shop
delivery: {config_port: 99}
directors:
  - {name: eds1, client: {device: eth0, address: 10.0.1.2}, server: {device: eth1, address: 10.0.2.2}}
  - {name: eds2, client: {device: eth0, address: 10.0.1.3}, server: {device: eth1, address: 10.0.2.3, address6: "fd00::3"}}
realservers:
  - {name: eps1, address: 10.0.2.11}
services:
  - {name: web, vip: 10.0.1.100, ports: 80, servers: [{name: eps1}]}
`

func TestPeers(t *testing.T) {
	c, err := cluster.Parse("cluster.yaml", []byte(pairYAML))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(peers(c, "eds1")); got != "[10.0.2.3:99 [fd00::3]:99]" {
		t.Error(got)
	}
	if got := peers(nil, "eds1"); got != nil {
		t.Error(got)
	}
	if at, err := peerAddress("10.0.2.3"); err != nil || at.String() != "10.0.2.3:8485" {
		t.Error(at, err)
	}
	if _, err := peerAddress("eds2"); err == nil {
		t.Error("a name is taken for an address")
	}
}

// The role is the daemon's, and nobody's once that is gone.
func TestRoleOfDaemon(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "c"), filepath.Join(dir, "s")
	if err := os.WriteFile(file, []byte(pairYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &role{client: control.NewClient(socket)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.follow(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	if r.active.Load() {
		t.Error("active without a daemon")
	}
	f, err := startFake(file, socket, true)
	if err != nil {
		t.Fatal(err)
	}
	netlab.Eventually(t, 20*time.Second, r.active.Load, "active")
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	netlab.Eventually(t, 20*time.Second, func() bool { return !r.active.Load() }, "not active any more")
}
