package doctor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/svm-cluster/svm/bench/netlab"
)

// director makes a node that is what farm's eds1 should be, with its own files.
func director(t *testing.T) (*netlab.Node, Config) {
	lab := netlab.New(t)
	n := lab.Node("eds1")
	lab.Switch("client").Attach(n, "eth0", "192.168.1.2/24", "2001:db8:1::2/64")
	lab.Switch("server").Attach(n, "eth1", "192.168.2.2/24", "2001:db8:2::2/64")
	dir := t.TempDir()
	if err := syscall.Mount("svm", dir, "tmpfs", 0, "size=100m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	key := filepath.Join(dir, "ha.key")
	write(t, key, strings.Repeat("5a", 32)+"\n", 0o600)
	conf := strings.Replace(farm, "/etc/svm/ha.key", key, 1) + "forwarding: {connections: 500000, state_file: " + dir + "/flows}\n"
	return n, Config{
		Cluster: parse(t, conf), File: "c.yaml", Node: "eds1",
		Unresolved: func(context.Context) ([]Missing, error) { return nil, nil },
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

// wrong examines the node and returns what isn't ok.
func wrong(t *testing.T, n *netlab.Node, cfg Config) (out []Finding) {
	t.Helper()
	if err := n.Do(func() error {
		for _, f := range Examine(t.Context(), cfg) {
			if f.Level != OK {
				out = append(out, f)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRemedies breaks a real host in one way after the other, wants that found and
// nothing else, does literally what the remedy says, and wants nothing found.
func TestRemedies(t *testing.T) {
	n, cfg := director(t)
	if found := wrong(t, n, cfg); len(found) > 0 {
		t.Fatalf("a healthy host has %+v", found)
	}
	dir := filepath.Dir(cfg.Cluster.HA.KeyFile)
	for _, tt := range []struct {
		name  string
		needs string // a program
		harm  func()
		want  string // "level topic"
	}{
		{"router", "sysctl", func() { n.Sysctl("net.ipv4.ip_forward", "1") }, "warn ip_forward"},
		{"IPv6 router", "sysctl", func() { n.Sysctl("net.ipv6.conf.all.forwarding", "1") }, "warn ip_forward"},
		{"VIP on lo", "ip", func() { n.Addr("lo", "192.168.1.100/32") }, "fail vip"},
		{"VIP on eth0", "ip", func() { n.Addr("eth0", "192.168.1.100/24") }, "fail vip"},
		{"IPv6 VIP on lo", "ip", func() { n.Addr("lo", "2001:db8:1::100/128") }, "fail vip"},
		{"route to a VIP", "ip", func() { n.Route("192.168.1.100/32", "192.168.2.254") }, "fail route"},
		{"IPv6 route to a VIP", "ip", func() { n.Route("2001:db8:1::100/128", "2001:db8:2::fe") }, "fail route"},
		{"blackhole", "ip", func() { run(t, n, "ip route add blackhole 192.168.1.100 metric 7") }, "fail route"},
		{"IPv6 unreachable", "ip", func() { run(t, n, "ip -6 route add unreachable 2001:db8:1::100") }, "fail route"},
		{"any address local", "ip", func() { run(t, n, "ip route add local 192.168.0.0/16 dev lo") }, "fail route"},
		{"narrow server device", "ip", func() { n.SetMTU("eth1", 1400) }, "fail mtu"},
		{"address gone", "ip", func() { n.AddrDel("eth1", "192.168.2.2/24") }, "fail address"},
		{"IPv6 address gone", "ip", func() { n.AddrDel("eth0", "2001:db8:1::2/64") }, "fail address"},
		{"UDP GRO", "ethtool", func() { run(t, n, "ethtool -K eth0 rx-udp-gro-forwarding on") }, "warn offload"},
		{"fraglist GRO", "ethtool", func() { run(t, n, "ethtool -K eth0 rx-gro-list on") }, "warn offload"},
		{"key for all", "chmod", func() { write(t, cfg.Cluster.HA.KeyFile, strings.Repeat("5a", 32), 0o644) }, "fail key_file"},
		{"no key", "od", func() { _ = os.Remove(cfg.Cluster.HA.KeyFile) }, "fail key_file"},
		{"half a key", "od", func() { write(t, cfg.Cluster.HA.KeyFile, "5a5a", 0o600) }, "fail key_file"},
		{"small file system", "mount", func() { run(t, n, "mount -o remount,size=20m "+dir) }, "warn state_file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			need(t, tt.needs)
			if tt.needs == "mount" {
				needUsers(t)
			}
			tt.harm()
			found := wrong(t, n, cfg)
			if len(found) != 1 || string(found[0].Level)+" "+found[0].Topic != tt.want {
				t.Fatalf("want one %s, found %+v", tt.want, found)
			}
			run(t, n, found[0].Remedy)
			if left := wrong(t, n, cfg); len(left) > 0 {
				t.Errorf("after %q there is still %+v", found[0].Remedy, left)
			}
		})
	}
}

// TestDownDevice: taking a device down takes its IPv6 addresses with it, so that
// there are several findings, mended one after the other.
func TestDownDevice(t *testing.T) {
	need(t, "ip")
	n, cfg := director(t)
	n.LinkDown("eth0")
	for range 3 {
		found := wrong(t, n, cfg)
		if len(found) == 0 {
			return
		}
		run(t, n, found[0].Remedy)
	}
	if left := wrong(t, n, cfg); len(left) > 0 {
		t.Errorf("still %+v", left)
	}
}

func TestMissingDevice(t *testing.T) {
	n, cfg := director(t)
	n.LinkDel("eth1")
	found := wrong(t, n, cfg)
	if len(found) != 1 || found[0].Topic != "device" || !strings.Contains(found[0].Text, "this host has lo, eth0") {
		t.Errorf("found %+v", found)
	}
}

// TestLiveFeatures reads what ethtool reads.
func TestLiveFeatures(t *testing.T) {
	need(t, "ethtool")
	n, _ := director(t)
	for _, state := range []string{"off", "on"} {
		run(t, n, "ethtool -K eth0 gro "+state)
		var got []string
		if err := n.Do(func() (err error) { got, err = features("eth0"); return err }); err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(strings.Join(got, " ")+" ", "rx-gro "); has != (state == "on") {
			t.Errorf("gro %s: features are %q", state, got)
		}
	}
	if err := n.Do(func() error { _, err := features("nothere"); return err }); err == nil {
		t.Error("a device that isn't there has features")
	}
}

func run(t *testing.T, n *netlab.Node, command string) {
	t.Helper()
	if out, err := n.Command(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// needUsers wants a namespace with more than one user: mount names the owner of a
// tmpfs when it remounts it, and one of nobody's can't be named.
func needUsers(t *testing.T) {
	t.Helper()
	m, err := os.ReadFile("/proc/self/uid_map")
	if f := strings.Fields(string(m)); err == nil && (len(f) > 3 || len(f) == 3 && f[2] != "1") {
		return
	}
	if os.Getenv("SVM_REQUIRE") == "1" {
		t.Fatal("this user namespace has one user only")
	}
	t.Skip("this user namespace has one user only")
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}
