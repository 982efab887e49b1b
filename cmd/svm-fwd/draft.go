package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// draft is a cluster file in the making.
type draft struct {
	file     string
	notes    []string
	services []*draftService

	// Of the director whose file it is; zero where that doesn't say.
	name         string
	device       string
	address      netip.Addr
	priority     int
	vrid         int
	interval     string
	noPreempt    bool
	preemptDelay string
}

type draftService struct {
	vip       netip.Addr
	protocol  string
	port      int // 0: any
	scheduler string
	flags     []string
	timeout   int // of persistence, seconds
	netmask   int // 0: one client each
	onePacket bool
	check     string // as in the cluster file, empty: none
	servers   []draftServer
}

type draftServer struct {
	address              netip.Addr
	weight, upper, lower int
}

// note tells the user what to look at.
func (d *draft) note(line int, format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf("%s:%d: %s", d.file, line, fmt.Sprintf(format, args...)))
}

// find returns the service, or nil.
func (d *draft) find(vip netip.Addr, protocol string, port int) *draftService {
	for _, s := range d.services {
		if s.vip == vip && s.protocol == protocol && s.port == port {
			return s
		}
	}
	return nil
}

// yaml writes the cluster file.
func (d *draft) yaml() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("# Translated from %s. Look at every line with CHECK, then run:\n#   svm-fwd check FILE && svm-fwd doctor --config FILE\n", d.file)
	p("cluster: farm # CHECK: its name\n")
	d.yamlHA(p)
	// The addresses are of RFC 5737's documentation networks: nobody has them.
	name, device := cmp.Or(d.name, "eds1"), cmp.Or(d.device, "eth0")
	client := "192.0.2.1"
	if d.address.IsValid() {
		client = d.address.String()
	}
	p("directors:\n  # CHECK: devices and addresses; add the second director\n")
	p("  - name: %s\n", name)
	if d.priority > 0 {
		p("    priority: %d\n", d.priority)
	}
	p("    client: {device: %s, address: %s}\n    server: {device: eth1, address: 198.51.100.1}\n", device, quoted(client))
	names := map[netip.Addr]string{}
	p("realservers:\n  # CHECK: names, and device where it is not eth0; each needs: svm-rs apply\n")
	for _, s := range d.services {
		for _, v := range s.servers {
			if names[v.address] == "" {
				names[v.address] = "eps" + strconv.Itoa(len(names)+1)
				p("  - {name: %s, address: %s}\n", names[v.address], quoted(v.address.String()))
			}
		}
	}
	p("services:\n")
	used := map[string]int{}
	for _, s := range d.services {
		s.yaml(p, unused(used, s), names)
	}
	return b.String()
}

func (d *draft) yamlHA(p func(string, ...any)) {
	var ha []string
	if d.vrid > 0 {
		ha = append(ha, fmt.Sprintf("vrid: %d", d.vrid))
	}
	if d.interval != "" {
		ha = append(ha, "interval: "+d.interval)
	}
	if d.noPreempt {
		ha = append(ha, "preempt: false")
	}
	if d.preemptDelay != "" {
		ha = append(ha, "preempt_delay: "+d.preemptDelay)
	}
	if ha != nil {
		p("ha: {%s}\n", strings.Join(ha, ", "))
	}
}

// unused names a service after its protocol and port.
func unused(used map[string]int, s *draftService) string {
	name := s.protocol + "-any"
	if s.port != 0 {
		name = fmt.Sprintf("%s-%d", s.protocol, s.port)
	}
	if used[name]++; used[name] > 1 {
		name += "-vip" + strconv.Itoa(used[name])
	}
	return name
}

func (s *draftService) yaml(p func(string, ...any), name string, names map[netip.Addr]string) {
	p("  - name: %s\n    vip: %s\n    protocol: %s\n", name, quoted(s.vip.String()), s.protocol)
	if s.port == 0 {
		p("    ports: any\n")
	} else {
		p("    ports: %d\n", s.port)
	}
	p("    scheduler: %s\n", cmp.Or(s.scheduler, "wlc"))
	if len(s.flags) > 0 {
		p("    flags: [%s]\n", strings.Join(s.flags, ", "))
	}
	if s.onePacket {
		p("    one_packet: true\n")
	}
	switch {
	case s.timeout > 0 && s.netmask > 0:
		p("    persistence: {timeout: %ds, netmask: %d}\n", s.timeout, s.netmask)
	case s.timeout > 0:
		p("    persistence: {timeout: %ds}\n", s.timeout)
	}
	if s.check != "" {
		p("    check: {%s}\n", s.check)
	}
	if len(s.servers) == 0 {
		p("    servers: [] # CHECK\n")
		return
	}
	p("    servers:\n")
	for _, v := range s.servers {
		p("      - {name: %s, weight: %d", names[v.address], v.weight)
		if v.upper > 0 {
			p(", upper: %d", v.upper)
		}
		if v.lower > 0 {
			p(", lower: %d", v.lower)
		}
		p("}\n")
	}
}

// add adds a server, once.
func (s *draftService) add(v draftServer) bool {
	if slices.ContainsFunc(s.servers, func(o draftServer) bool { return o.address == v.address }) {
		return false
	}
	s.servers = append(s.servers, v)
	return true
}

// setFlag takes over a scheduler flag by IPVS's name.
func (s *draftService) setFlag(f string) {
	switch f {
	case "sh-fallback", "mh-fallback":
		f = "fallback"
	case "flag-1":
		f = "fallback"
	case "flag-2":
		f = s.scheduler + "-port"
	}
	if !slices.Contains(s.flags, f) {
		s.flags = append(s.flags, f)
	}
}

// netmask reads 255.255.255.0 or a prefix length.
func netmaskBits(text string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return 0, fmt.Errorf("netmask %q: want one like 255.255.255.0, or a prefix length", text)
	}
	raw := a.As4()
	bits := 0
	mask := uint32(raw[0])<<24 | uint32(raw[1])<<16 | uint32(raw[2])<<8 | uint32(raw[3])
	for ; mask&(1<<31) != 0; mask <<= 1 {
		bits++
	}
	if mask != 0 {
		return 0, fmt.Errorf("netmask %s has ones behind zeros", text)
	}
	return bits, nil
}

// quoted makes text a YAML scalar: an IPv6 address would be a mapping in {}.
func quoted(s string) string {
	if strings.ContainsAny(s, ":#{}[],&*?|>'\"%@` ") {
		return strconv.Quote(s)
	}
	return s
}
