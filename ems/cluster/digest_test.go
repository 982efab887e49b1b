package cluster

import (
	"encoding/hex"
	"os"
	"testing"
)

// TestDigestSame has files that mean what base means.
func TestDigestSame(t *testing.T) {
	want := mustParse(t, base).Digest()
	if b, err := hex.DecodeString(want); err != nil || len(b) != 32 {
		t.Fatalf("%q is no SHA-256 in hex", want)
	}
	for name, file := range map[string]string{
		"comments":            "# a farm\n" + edited(t, "ports: 80", "ports: 80 # the web"),
		"order of keys":       edited(t, "vip: 10.0.1.100\n    ports: 80", "ports: 80\n    vip: 10.0.1.100", "{name: eps1, address: 10.0.2.11}", "{address: 10.0.2.11, name: eps1}"),
		"spelled-out default": edited(t, "{name: eps1}", "{name: eps1, weight: 1}", "ports: 80", "ports: [80]\n    scheduler: wlc"),
		"empty mappings":      edited(t, "cluster: shop", "cluster: shop\nha: {}\nforwarding: {timeouts: {}}\nnetworks: {client: {}}"),
		"no check":            edited(t, "ports: 80", "ports: 80\n    check: {type: none, interval: 7s}"),
		"another unit":        edited(t, "cluster: shop", "cluster: shop\nha: {interval: 0.1s, announce: 1m}"),
		"quotes":              edited(t, "name: web", `name: "web"`, "vip: 10.0.1.100", "vip: '10.0.1.100'"),
		"delivery":            edited(t, "cluster: shop", "cluster: shop\ndelivery: {ssh_user: svm-push, dhcp: true}"),
		"style":               edited(t, "servers: [{name: eps1}, {name: eps2}]", "servers:\n    - name: eps1\n    - name: eps2"),
	} {
		if got := mustParse(t, file).Digest(); got != want {
			t.Errorf("%s: the digest changed:\n%s", name, mustParse(t, file).YAML())
		}
	}
}

// TestDigestDependentDefaults spells out the defaults that follow other keys.
func TestDigestDependentDefaults(t *testing.T) {
	short := edited(t, "ports: 80", "ports: [80, 443]\n    persistence: {}\n    check: {type: http}")
	long := edited(t, "ports: 80", "ports: [443, 80]\n    persistence: {timeout: 300s, netmask: 32}\n    check: {type: http, path: /, port: 80, status: 200-399, timeout: 1s}")
	if mustParse(t, short).Digest() != mustParse(t, long).Digest() {
		t.Errorf("\n%s\n%s", mustParse(t, short).YAML(), mustParse(t, long).YAML())
	}
}

// TestDigestDiffers changes every value of the reference that a digest must see.
func TestDigestDiffers(t *testing.T) {
	seen := map[string]string{mustParse(t, base).Digest(): "nothing"}
	for name, file := range map[string]string{
		"name":                edited(t, "cluster: shop", "cluster: shop2"),
		"weight":              edited(t, "{name: eps1}", "{name: eps1, weight: 2}"),
		"order of servers":    edited(t, "[{name: eps1}, {name: eps2}]", "[{name: eps2}, {name: eps1}]"),
		"a server less":       edited(t, "[{name: eps1}, {name: eps2}]", "[{name: eps1}]"),
		"no server":           edited(t, "[{name: eps1}, {name: eps2}]", "[]"),
		"empty check":         edited(t, "ports: 80", "ports: 80\n    check: {}"),
		"persistence":         edited(t, "ports: 80", "ports: 80\n    persistence: {}"),
		"address of a server": edited(t, "10.0.2.11", "10.0.2.21"),
		"preempt":             edited(t, "cluster: shop", "cluster: shop\nha: {preempt: false}"),
		"delivery":            edited(t, "cluster: shop", "cluster: shop\ndelivery: {dhcp: false}"),
		"MAC":                 edited(t, "10.0.2.11", "10.0.2.11, mac: 52:54:00:00:00:01"),
		"another MAC":         edited(t, "10.0.2.11", "10.0.2.11, mac: 52:54:00:00:00:02"),
		"workers":             edited(t, "cluster: shop", "cluster: shop\nforwarding: {workers: 1}"),
	} {
		d := mustParse(t, file).Digest()
		if other, taken := seen[d]; taken {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
}

// TestDigestIsKept pins the canonical form: directors of different versions
// compare digests, so a new key must not change that of a file without it.
func TestDigestIsKept(t *testing.T) {
	const want = "cluster: shop\n" +
		"directors: [{name: eds1, client: {device: eth0, address: 10.0.1.2}, server: {device: eth1, address: 10.0.2.2}}]\n" +
		"realservers: [{name: eps1, address: 10.0.2.11}, {name: eps2, address: 10.0.2.12}]\n" +
		"services: [{name: web, vip: 10.0.1.100, ports: [80], servers: [{name: eps1}, {name: eps2}]}]\n"
	if got := string(mustParse(t, base).YAML()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReferenceRoundTrip(t *testing.T) {
	data, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, mustParse(t, string(data)))
}
