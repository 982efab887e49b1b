package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/render"
)

const whole = `cluster: shop
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.1}
  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254, cidr6: "2001:db8:2::/64", gateway6: "2001:db8:2::fe"}
ha: {key_file: /etc/svm/ha.key}
directors:
  - {name: eds1, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
realservers:
  - {name: eps1, address: 192.168.2.11, address6: "2001:db8:2::11", mac: 52:54:00:00:02:0b}
  - {name: eps2, address: 192.168.2.12}
  - {name: spare, address: 192.168.2.99}
services:
  - {name: web, vip: 192.168.1.100, ports: [80, 443], check: {type: http}, servers: [{name: eps1, weight: 0}, {name: eps2}]}
  - {name: web6, vip: "2001:db8:1::100", ports: any, check: {type: exec, command: [/bin/check]}, servers: [{name: eps1}]}
  - {name: other, vip: 192.168.1.101, ports: 80, servers: [{name: eps2}]}
`

// TestRenderedFile goes by the file that the station renders for a real server as by
// the whole cluster file.
func TestRenderedFile(t *testing.T) {
	cl, err := cluster.Parse("cluster.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"eps1", "eps2", "spare"} {
		want, err := fromCluster(cl, []string{node})
		if err != nil {
			t.Fatal(err)
		}
		got, err := fromFile(rendered(t, node), node)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", node, got, want)
		}
	}
}

// TestApplyRenderedFile does so on a real server, also where no service uses it.
func TestApplyRenderedFile(t *testing.T) {
	eps := newServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state.json")
	for _, c := range []struct{ node, vip, has string }{{"eps1", "192.168.1.100/32", "yes"}, {"spare", "192.168.1.100/32", "no"}} {
		cmd := eps.Command(ctx, exe, "apply", "--state", state, "--config", rendered(t, c.node), "--node", c.node)
		cmd.Env = append(os.Environ(), asCommand+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c.node, err, out)
		}
		out, err := eps.Command(ctx, "ip", "-o", "addr", "show", "dev", "lo", "to", c.vip).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		if (len(out) > 0) != (c.has == "yes") {
			t.Errorf("%s: %s on lo, want %s: %q", c.node, c.vip, c.has, out)
		}
	}
}

func rendered(t *testing.T, node string) string {
	t.Helper()
	c, err := render.ForRealServer(render.Input{Generation: 1, YAML: []byte(whole)}, node)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	for _, f := range c.Files {
		if f.Path == render.ClusterFile {
			if err := os.WriteFile(path, f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return path
}
