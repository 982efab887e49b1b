package render

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
)

// Sysctl is one line of SysctlFile: Key is a path below /proc/sys, with slashes,
// since a device's name may have dots.
type Sysctl struct{ Key, Value string }

// Sysctls reads a sysctl.d file of ours: comments, empty lines, and lines of
// "net/... = value". Other keys are refused.
func Sysctls(data []byte) ([]Sysctl, error) {
	var all []Sysctl
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, found := strings.Cut(line, " = ")
		if !found || !isSysctlKey(key) || !isPlain(value, "") {
			return nil, fmt.Errorf("%s:%d: want a line like net/ipv4/ip_forward = 0", SysctlFile, n)
		}
		all = append(all, Sysctl{key, value})
	}
	return all, nil
}

func isSysctlKey(key string) bool {
	words := strings.Split(key, "/")
	return len(key) <= 200 && len(words) > 2 && words[0] == "net" &&
		!slices.ContainsFunc(words, func(w string) bool { return !isPlain(w, "._-@+") || w == "." || w == ".." })
}

// isPlain tells whether s is of letters, digits and the given others, and not empty.
func isPlain(s, others string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(others, c))
	})
}

// plainDevice refuses what sysctl.d and networkd would read as something else.
func plainDevice(node, device string) error {
	if isPlain(device, "._-@+") {
		return nil
	}
	return fmt.Errorf("render: device %q of %s: its name has a meaning of its own in sysctl.d or systemd's files: rename the device to letters, digits and . _ - @ +", device, node)
}

// directorSysctl says what svm-fwd doctor asks for: a director is no router by itself,
// and speaks IPv6 where there are IPv6 VIPs.
func directorSysctl(d *cluster.Director, vips []netip.Addr) (string, error) {
	var b strings.Builder
	b.WriteString("# A director passes packets on by itself; the kernel is not to be a second way.\n")
	set := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, value) }
	set("net/ipv4/ip_forward", "0")
	if !slices.ContainsFunc(vips, netip.Addr.Is6) {
		return b.String(), nil
	}
	set("net/ipv6/conf/all/forwarding", "0")
	devices := []string{d.Client.Device, d.Server.Device}
	for _, device := range slices.Compact(devices) {
		if err := plainDevice(d.Name, device); err != nil {
			return "", err
		}
		set("net/ipv6/conf/"+device+"/disable_ipv6", "0")
	}
	return b.String(), nil
}

// realServerSysctl are the values that svm-rs sets (docs/realserver.md), so that
// neither a restart of systemd-sysctl nor the time before svm-rs runs undoes them.
func realServerSysctl(rs *cluster.RealServer, vips []netip.Addr) (string, error) {
	if err := plainDevice(rs.Name, rs.Device); err != nil {
		return "", err
	}
	if !slices.ContainsFunc(vips, netip.Addr.Is4) {
		return "# No IPv4 address is virtual here, so ARP stays as it is.\n", nil
	}
	var b strings.Builder
	b.WriteString("# ARP never answers for the virtual addresses.\n")
	for _, device := range []string{"all", rs.Device} {
		fmt.Fprintf(&b, "net/ipv4/conf/%s/arp_ignore = 1\nnet/ipv4/conf/%s/arp_announce = 2\n", device, device)
	}
	return b.String(), nil
}
