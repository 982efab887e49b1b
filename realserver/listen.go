package realserver

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Listener is one socket that takes what clients send.
type Listener struct {
	Protocol string     // tcp or udp
	Addr     netip.Addr // unspecified: any address
	Port     uint16     // host order
}

// serves tells whether the listener gets packets for a service. A socket on ::
// is taken to accept IPv4 as well, which is the default.
func (l Listener) serves(s Service) bool {
	return l.Protocol == s.Protocol && s.First <= l.Port && l.Port <= s.Last &&
		(l.Addr == s.VIP || l.Addr.IsUnspecified() && (l.Addr.Is6() || s.VIP.Is4()))
}

// readListeners reads the kernel's tables as well as it can: this is for
// warnings only.
func readListeners() []Listener {
	var ls []Listener
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		// Not /proc/net: that is the namespace of the process, not of the thread.
		f, err := os.Open("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		for in := bufio.NewScanner(f); in.Scan(); {
			l, ok, more := parseListener(table[:3], in.Text())
			if ok {
				ls = append(ls, l)
			}
			if !more {
				break
			}
		}
		f.Close()
	}
	return ls
}

// parseListener reads one line, such as
// "0: 0100007F:1F90 00000000:0000 0A ...". The kernel lists listening TCP
// sockets first, so more is false at the first connection: a busy server has
// very many of those.
func parseListener(protocol, line string) (l Listener, ok, more bool) {
	const listening = "0A"
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[0] == "sl" {
		return Listener{}, false, true
	}
	if protocol == "tcp" && fields[3] != listening {
		return Listener{}, false, false
	}
	addr, port, found := strings.Cut(fields[1], ":")
	raw, err := hex.DecodeString(addr)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !found || err != nil || perr != nil || len(raw)%4 != 0 {
		return Listener{}, false, true
	}
	// Each 32-bit word is printed in host order.
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	a, valid := netip.AddrFromSlice(raw)
	return Listener{Protocol: protocol, Addr: a.Unmap(), Port: uint16(n)}, valid, true
}
