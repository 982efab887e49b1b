// Package health finds out which real servers may get new connections. Each
// target is one real server inside one virtual service; it is probed on the VIP
// *at that very server*: the socket carries a mark (SO_MARK), and an `ip rule`
// made elsewhere routes the mark to the server. So a check takes the way that
// the clients' packets take, and a server that forgot its VIP is found out too.
//
// The package knows no clusters and no packets: Targets go in, Status comes out.
// It changes nothing on the host.
package health

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The check types.
const (
	None  = "none"  // always up, nothing is sent
	TCP   = "tcp"   // connect; with Send and Expect also a short talk
	HTTP  = "http"  // GET, judged by the status code
	HTTPS = "https" // the same inside TLS
	UDP   = "udp"   // up unless an ICMP error comes back; with Expect only when answered
	Exec  = "exec"  // a program, up when it exits with 0
	Ping  = "ping"  // ICMP or ICMPv6 echo
)

// Target is one server to watch. It is a plain value: the Monitor copies what
// it keeps, and the caller may share the slices inside but not change them.
type Target struct {
	// Key is the target's identity, such as "web/eps1". Its state lives as long
	// as the key is handed to Set, whatever else changes.
	Key string
	// Addr is where to connect: the VIP and the port to check. Exec passes it on,
	// ping takes only its address.
	Addr netip.AddrPort
	// Mark is the SO_MARK that leads to the server. 0: a plain socket. Setting it
	// takes CAP_NET_ADMIN (or, since Linux 5.17, CAP_NET_RAW).
	Mark uint32
	// Server and ServerAddr are the real server's name and own address. Only exec
	// uses them, as SVM_SERVER and SVM_SERVER_ADDRESS.
	Server     string
	ServerAddr netip.Addr
	Spec       Spec
}

// Spec says how to check. A zero field has the default given with it.
type Spec struct {
	Type string // none

	// http and https.
	Path              string // "/"
	Host              string // Host header, SNI and the name in the certificate; default the VIP
	Status            []int  // accepted codes; empty: 200-399
	VerifyCertificate bool   // https: chain and name must be right

	// tcp and udp.
	Send   string // bytes to send first
	Expect string // bytes that the answer must contain within its first 64 KiB

	Command []string // exec: the program and its arguments; no shell

	Interval time.Duration // from start to start; 2 s, at least 10 ms
	Timeout  time.Duration // bounds the whole check; 1 s, at most Interval
	Rise     int           // passes in a row until a server that is down is up; 2
	Fall     int           // failures in a row until a server that is up is down; 3
}

// withDefaults returns t with every field that matters filled in and in range.
func (t Target) withDefaults() Target {
	s := &t.Spec
	s.Type = cmp.Or(s.Type, None)
	s.Path = cmp.Or(s.Path, "/")
	if s.Interval <= 0 {
		s.Interval = 2 * time.Second
	}
	// Below this a check is an attack.
	s.Interval = max(s.Interval, 10*time.Millisecond)
	if s.Timeout <= 0 {
		s.Timeout = time.Second
	}
	s.Timeout = min(s.Timeout, s.Interval)
	if s.Rise <= 0 {
		s.Rise = 2
	}
	if s.Fall <= 0 {
		s.Fall = 3
	}
	s.Status = slices.Clone(s.Status)
	s.Command = slices.Clone(s.Command)
	t.Addr = netip.AddrPortFrom(t.Addr.Addr().Unmap(), t.Addr.Port())
	return t
}

// equal tells whether a check for the one does for the other.
func (t Target) equal(o Target) bool {
	a, b := t.Spec, o.Spec
	return t.Key == o.Key && t.Addr == o.Addr && t.Mark == o.Mark &&
		t.Server == o.Server && t.ServerAddr == o.ServerAddr &&
		a.Type == b.Type && a.Path == b.Path && a.Host == b.Host &&
		slices.Equal(a.Status, b.Status) && a.VerifyCertificate == b.VerifyCertificate &&
		a.Send == b.Send && a.Expect == b.Expect && slices.Equal(a.Command, b.Command) &&
		a.Interval == b.Interval && a.Timeout == b.Timeout && a.Rise == b.Rise && a.Fall == b.Fall
}

// accepts tells whether an HTTP status code means up.
func (s *Spec) accepts(code int) bool {
	if len(s.Status) == 0 {
		return 200 <= code && code <= 399
	}
	return slices.Contains(s.Status, code)
}

// wanted prints the accepted codes, runs of them as ranges: "200-204, 301".
func (s *Spec) wanted() string {
	if len(s.Status) == 0 {
		return "200-399"
	}
	codes := slices.Clone(s.Status)
	slices.Sort(codes)
	codes = slices.Compact(codes)
	var parts []string
	for i := 0; i < len(codes); {
		j := i
		for j+1 < len(codes) && codes[j+1] == codes[j]+1 {
			j++
		}
		part := strconv.Itoa(codes[i])
		if j > i {
			part += "-" + strconv.Itoa(codes[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
