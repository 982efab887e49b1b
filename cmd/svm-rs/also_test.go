package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAlso(t *testing.T) {
	dir := t.TempDir()
	file := func(name, vip, server string) string {
		path := filepath.Join(dir, name)
		text := strings.NewReplacer("VIP", vip, "SERVER", server).Replace(`cluster: shop
directors:
  - {name: eds1, client: {device: eth0, address: 192.0.2.2}, server: {device: eth1, address: 192.168.2.2}}
realservers:
  - {name: SERVER, address: 192.168.2.11}
services:
  - {name: web, vip: VIP, ports: 80, servers: [{name: SERVER}]}
`)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	now, before, other := file("now", "192.0.2.100", "eps1"), file("before", "192.0.2.99", "eps1"), file("other", "192.0.2.98", "eps2")
	for _, c := range []struct {
		name, also string
		want       []string
	}{
		{"none", "", []string{"192.0.2.100"}},
		{"the one before", before, []string{"192.0.2.100", "192.0.2.99"}},
		{"the same", now, []string{"192.0.2.100"}},
		{"not there", filepath.Join(dir, "missing"), []string{"192.0.2.100"}},
		{"without this server", other, []string{"192.0.2.100"}},
	} {
		tgt, err := fromFile(now, "eps1")
		if err == nil && c.also != "" {
			err = tgt.also(c.also)
		}
		var got []string
		for _, a := range tgt.VIPs {
			got = append(got, a.String())
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
	tgt, err := fromFile(now, "eps1")
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("cluster: ["), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tgt.also(bad); err == nil {
		t.Error("a damaged file is taken for none")
	}
}
