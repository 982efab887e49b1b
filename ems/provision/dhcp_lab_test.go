package provision

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"

	"github.com/svm-cluster/svm/bench/netlab"
)

// isDHCPAnswer: an outgoing IPv4 UDP frame from port 67.
func isDHCPAnswer(fr netlab.Frame) bool {
	d := fr.Data
	return fr.Outgoing && len(d) > 42 && d[12] == 8 && d[13] == 0 && d[23] == 17 && binary.BigEndian.Uint16(d[34:]) == dhcpServerPort
}

// A machine with an address that is a real server's: that one gets nothing, and the
// operator is told. When it goes, the address is given.
func TestConflict(t *testing.T) {
	f := newFarm(t)
	f.station.director(t, f.store(f.eds1), "eds1", 7, true)
	f.active(f.eds1, f.eds2)
	f.stranger.Addr("eth0", "192.168.2.11/24")
	f.director(f.eds1)
	wire := f.eds1.Capture("eth1")
	f.agent(f.eps1, "")
	want := fmt.Sprintf("192.168.2.11 of eps1 is in use by %s", f.stranger.MAC("eth0"))
	f.await("the conflict is shown", func() bool {
		s := f.status(f.eds1)
		return s.Counts[DHCPConflict] > 0 && strings.Contains(strings.Join(s.Problems, "\n"), want)
	})
	if n := len(wire.Select(isDHCPAnswer)); n != 0 {
		t.Errorf("it was answered %d times", n)
	}
	f.stranger.AddrDel("eth0", "192.168.2.11/24")
	f.settled(f.eps1, 7)
}

// Machines that the cluster file doesn't name are not answered, and counted.
func TestUnknownMachine(t *testing.T) {
	f := newFarm(t)
	f.active(f.eds1, f.eds2)
	f.director(f.eds1)
	f.serves(f.eds1, "on eth1")
	wire := f.eds1.Capture("eth1")
	busybox := needs(t, "busybox")
	cmd := f.stranger.Command(context.Background(), busybox, "udhcpc", "-f", "-n", "-q", "-i", "eth0", "-t", "3", "-T", "1", "-s", "/bin/true", "-x", "hostname:eps9")
	if err := cmd.Run(); err == nil {
		t.Error("a stranger got a lease")
	}
	if n := f.status(f.eds1).Counts[DHCPUnknown]; n < 3 {
		t.Errorf("%d unknown, want 3", n)
	}
	if n := len(wire.Select(isDHCPAnswer)); n != 0 {
		t.Errorf("it was answered %d times", n)
	}
}

// Two clients of Debian take what the director gives.
func TestOtherClients(t *testing.T) {
	for name, run := range map[string]func(*farm, *netlab.Node, string) *netlab.Cmd{
		"udhcpc": func(f *farm, n *netlab.Node, script string) *netlab.Cmd {
			return n.Command(context.Background(), needs(f.t, "busybox"), "udhcpc", "-f", "-n", "-q", "-a", "-i", "eth0", "-s", script, "-x", "hostname:eps2", "-O", "router")
		},
		"dhclient": func(f *farm, n *netlab.Node, script string) *netlab.Cmd {
			dir := filepath.Dir(script)
			conf := write(f.t, filepath.Join(dir, "dhclient.conf"), []byte("send host-name \"eps2\";\nrequest subnet-mask, routers, host-name;\ntimeout 20;\n"))
			return n.Command(context.Background(), needs(f.t, "dhclient"), "-1", "-d", "-4", "-sf", script,
				"-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "eth0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t)
			f.active(f.eds1, f.eds2)
			f.director(f.eds1)
			f.serves(f.eds1, "on eth1")
			got := filepath.Join(t.TempDir(), "env")
			script := filepath.Join(filepath.Dir(got), "script")
			write(t, script, []byte("#!/bin/sh\ncase \"$1$reason\" in\nPREINIT|deconfig) ip link set eth0 up;;\nbound|BOUND|renew) env > "+got+".tmp; mv "+got+".tmp "+got+";;\nesac\nexit 0\n"))
			check(t, os.Chmod(script, 0o755))
			cmd := run(f, f.eps2, script)
			check(t, cmd.Start())
			var env string
			netlab.Eventually(t, 30*time.Second, func() bool {
				b, err := os.ReadFile(got)
				env = string(b)
				return err == nil
			}, name+" gets a lease")
			cmd.Kill()
			for _, want := range map[string][]string{
				"udhcpc":   {"ip=192.168.2.12", "subnet=255.255.255.0", "router=192.168.2.254", "serverid=192.168.2.2", "lease=3600", "hostname=eps2", "siaddr=192.168.2.2"},
				"dhclient": {"new_ip_address=192.168.2.12", "new_subnet_mask=255.255.255.0", "new_routers=192.168.2.254", "new_dhcp_server_identifier=192.168.2.2", "new_dhcp_lease_time=3600", "new_host_name=eps2"},
			}[name] {
				if !strings.Contains("\n"+env, "\n"+want+"\n") {
					t.Errorf("no %s in\n%s", want, env)
				}
			}
		})
	}
}

// A flood of invented machines neither fills the log nor keeps a real server out.
func TestFlood(t *testing.T) {
	f := newFarm(t)
	f.station.director(t, f.store(f.eds1), "eds1", 7, true)
	f.active(f.eds1, f.eds2)
	eds := f.director(f.eds1)
	f.serves(f.eds1, "on eth1")
	var wire *packet.Conn
	check(t, f.stranger.Do(func() error {
		dev, err := net.InterfaceByName("eth0")
		if err == nil {
			wire, err = packet.Listen(dev, packet.Raw, 0, nil)
		}
		return err
	}))
	defer wire.Close()
	for i := range 20000 {
		mac := net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)}
		m, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithOption(dhcpv4.OptHostName("web")))
		check(t, err)
		// A full queue loses frames, as a wire does.
		_, _ = wire.WriteTo(frame(mac, m.ToBytes()), &packet.Addr{HardwareAddr: broadcast})
		if i == 1000 {
			f.agent(f.eps1, "")
		}
	}
	f.settled(f.eps1, 7)
	f.await("all are counted", func() bool {
		s := f.status(f.eds1)
		return s.Counts[DHCPLimited] > 0 && s.Counts[DHCPUnknown] > 0
	})
	if n := strings.Count(eds.Log(), "not a real server"); n > saidRoom {
		t.Errorf("%d lines", n)
	}
}

// frame is a broadcast of a DHCP client without an address.
func frame(from net.HardwareAddr, payload []byte) []byte {
	b := append(append(bytes.Repeat([]byte{0xff}, 6), from...), 8, 0)
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	udp := []byte{0, dhcpClientPort, 0, dhcpServerPort, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	return append(append(append(b, ip...), udp...), payload...)
}
