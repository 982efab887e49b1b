package cluster

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// label is a DNS label (RFC 1123) in lower case: the names of nodes are used as
// host names, and all of them as words of commands and metrics.
func label() kind[string] {
	return scalar("a name of 1 to 63 letters a-z, digits and inner hyphens",
		func(w word) (string, string, bool) {
			if isLabel(w.text) {
				return w.text, "", true
			}
			if s := strings.ToLower(strings.ReplaceAll(w.text, "_", "-")); isLabel(s) {
				return "", `, did you mean "` + s + `"?`, false
			}
			return "", "", false
		},
		quote)
}

func isLabel(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
}

// device is what Linux accepts as the name of a network device.
func device() kind[string] {
	return textWhere("a network device name of 1 to 15 characters", func(s string) bool {
		odd := func(c rune) bool { return c <= ' ' || c > '~' || c == '/' || c == ':' }
		return s != "" && len(s) <= 15 && s != "." && s != ".." && !strings.ContainsFunc(s, odd)
	})
}

// userName is what useradd accepts without being forced to.
func userName() kind[string] {
	return textWhere("a user name of 1 to 32 lower-case letters, digits, _ and -", func(s string) bool {
		odd := func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-')
		}
		return s != "" && len(s) <= 32 && s[0] != '-' && (s[0] < '0' || s[0] > '9') && !strings.ContainsFunc(s, odd)
	})
}

// macAddress is the Ethernet address of one device. It is kept in lower case and
// with colons, so that one address is one text.
func macAddress() kind[string] {
	return scalar("an Ethernet address like 52:54:00:12:34:56",
		func(w word) (string, string, bool) {
			m, err := net.ParseMAC(w.text)
			switch {
			case err != nil || len(m) != 6 || strings.Contains(w.text, "."):
				return "", "", false
			case [6]byte(m) == [6]byte{}:
				return "", ": no device has it, leave the key out", false
			case m[0]&1 != 0:
				return "", ": that is a group's address, not a device's", false
			}
			return m.String(), "", true
		},
		quote)
}

// address is an IPv4 or IPv6 address; with only6, IPv6.
func address(only6 bool) kind[netip.Addr] {
	want := "an IPv4 or IPv6 address"
	if only6 {
		want = "an IPv6 address"
	}
	return scalar(want,
		func(w word) (netip.Addr, string, bool) {
			if before, after, found := strings.Cut(w.text, "/"); found {
				if _, err := netip.ParseAddr(before); err == nil {
					return netip.Addr{}, ": leave /" + cut(after) + " out", false
				}
			}
			a, err := netip.ParseAddr(w.text)
			switch {
			case err != nil:
				return netip.Addr{}, "", false
			case a.Zone() != "":
				return netip.Addr{}, ": leave the zone %" + cut(a.Zone()) + " out", false
			case a.Is4In6():
				return netip.Addr{}, ": write " + a.Unmap().String(), false
			}
			return a, "", a.Is6() || !only6
		},
		func(a netip.Addr) string { return quote(a.String()) })
}

// prefix is a network in CIDR notation with no host bits set.
func prefix(only6 bool) kind[netip.Prefix] {
	want := "a network like 192.168.1.0/24 or fd00:1::/64"
	if only6 {
		want = "an IPv6 network like fd00:1::/64"
	}
	return scalar(want,
		func(w word) (netip.Prefix, string, bool) {
			p, err := netip.ParsePrefix(w.text)
			switch {
			case err != nil:
				if a, err := netip.ParseAddr(w.text); err == nil && a.Zone() == "" {
					return netip.Prefix{}, ": add the prefix length, as in " + a.String() + "/" + usualBits(a), false
				}
				return netip.Prefix{}, "", false
			case p.Addr().Is4In6():
				return netip.Prefix{}, ": write it as an IPv4 network", false
			case p != p.Masked():
				return netip.Prefix{}, `, did you mean "` + p.Masked().String() + `"?`, false
			}
			return p, "", p.Addr().Is6() || !only6
		},
		func(p netip.Prefix) string { return quote(p.String()) })
}

func usualBits(a netip.Addr) string {
	if a.Is6() {
		return "64"
	}
	return "24"
}

// file is an absolute path, since a daemon's working directory says nothing.
func file() kind[string] {
	return textWhere("an absolute file name", isFile)
}

// fileOrNone is file, or the word none.
func fileOrNone() kind[string] {
	return textWhere("an absolute file name or none", func(s string) bool { return s == "none" || isFile(s) })
}

func isFile(s string) bool {
	return strings.HasPrefix(s, "/") && len(s) <= 4095 && !strings.HasSuffix(s, "/") && !strings.ContainsRune(s, 0)
}

// requestPath is what may stand in a request line (RFC 9112, section 3.2.1).
func requestPath() kind[string] {
	return textWhere("a path like /healthz, without spaces", func(s string) bool {
		return strings.HasPrefix(s, "/") && len(s) <= 2048 && !strings.ContainsFunc(s, notVisible)
	})
}

// webURL is where a webhook is sent to.
func webURL() kind[string] {
	return textWhere("a URL like http://192.168.2.5:8080/role", func(s string) bool {
		u, err := url.Parse(s)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && !strings.ContainsFunc(s, notVisible)
	})
}

// hostName is what may stand in a Host header. Empty: the VIP.
func hostName() kind[string] {
	return textWhere("a host name, with or without a port", func(s string) bool {
		return len(s) <= 255 && !strings.ContainsFunc(s, func(c rune) bool {
			return notVisible(c) || strings.ContainsRune("/?#@\\", c)
		})
	})
}

func notVisible(c rune) bool { return c <= ' ' || c > '~' }
