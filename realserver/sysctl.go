package realserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A sysctl's key is its path below /proc/sys. Paths, not dotted names: device
// names may hold dots (eth0.100).

// conf4 is the key of an IPv4 setting of one device, or of "all".
func conf4(device, name string) string { return "net/ipv4/conf/" + device + "/" + name }

// conf6 is the same for IPv6.
func conf6(device, name string) string { return "net/ipv6/conf/" + device + "/" + name }

// readSysctl returns the value without its newline. A key that does not exist
// gives an error that is fs.ErrNotExist.
func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc/sys", key))
	if err != nil {
		return "", fmt.Errorf("realserver: read sysctl: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// writeSysctl needs CAP_NET_ADMIN in the user namespace that owns the network
// namespace, and a /proc/sys that is not mounted read-only.
func writeSysctl(key, value string) error {
	f, err := os.OpenFile(filepath.Join("/proc/sys", key), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// sysctlName is the key as sysctl(8) takes it: with dots, which is what people
// know, but with slashes where dots cannot tell eth0.100 from eth0/100.
func sysctlName(key string) string {
	if strings.Contains(key, ".") {
		return key
	}
	return strings.ReplaceAll(key, "/", ".")
}

// sysctlCommand is the shell command that sets a value.
func sysctlCommand(key, value string) string { return "sysctl -w " + sysctlName(key) + "=" + value }

// arpKey is one sysctl that IPv4 VIPs need, and the values that are good for
// them. The kernel takes the greater of "all" and the device, so with both at a
// good value the greater one is good as well.
type arpKey struct {
	key  string
	good []string // the first is what apply sets
}

// arpKeys lists them for a device.
//
//   - arp_ignore 1: answer only for addresses of the device that was asked; 2: and
//     only for askers in their subnet; 8: for nothing at all. 3 would still answer
//     for a VIP of global scope, and 4 to 7 are reserved: they work like 0.
//   - arp_announce 2: never name an address of another device as the sender.
func arpKeys(device string) []arpKey {
	var keys []arpKey
	for _, d := range []string{"all", device} {
		keys = append(keys,
			arpKey{conf4(d, "arp_ignore"), []string{"1", "2", "8"}},
			arpKey{conf4(d, "arp_announce"), []string{"2"}})
	}
	return keys
}

// target is the value to set: the present one if it is good.
func (k arpKey) target(now string) string {
	for _, v := range k.good {
		if v == now {
			return now
		}
	}
	return k.good[0]
}
