package main

import (
	"bufio"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// names are what addresses and ports are called on this host. The zero value
// knows none.
type names struct {
	hosts    map[netip.Addr]string
	services map[string]string // by "80/tcp"
}

// readNames reads the two files; one that can't be read names nothing.
func readNames(hosts, services string) names {
	n := names{hosts: map[netip.Addr]string{}, services: map[string]string{}}
	eachLine(hosts, func(fields []string) {
		a, err := netip.ParseAddr(fields[0])
		if _, known := n.hosts[a]; err == nil && !known {
			n.hosts[a] = fields[1]
		}
	})
	eachLine(services, func(fields []string) {
		if _, known := n.services[fields[1]]; !known {
			n.services[fields[1]] = fields[0]
		}
	})
	return n
}

// eachLine visits the lines of at least two words, without comments.
func eachLine(path string, visit func([]string)) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		if fields := strings.Fields(line); len(fields) >= 2 {
			visit(fields)
		}
	}
}

// host returns an address as it is printed, IPv6 in brackets.
func (n names) host(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	text := a.String()
	if name := n.hosts[a]; name != "" {
		text = name
	}
	if a.Is6() {
		return "[" + text + "]"
	}
	return text
}

// ports returns ports as they are printed: any becomes 0, ranges stay numbers.
func (n names) ports(ports, protocol string) string {
	if ports == "any" {
		return "0"
	}
	list := strings.Split(ports, ",")
	for i, p := range list {
		if name := n.services[p+"/"+strings.ToLower(protocol)]; name != "" {
			list[i] = name
		}
	}
	return strings.Join(list, ",")
}

// addrPort returns "address:port" as it is printed.
func (n names) addrPort(s, protocol string) string {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return s
	}
	return n.host(a.Addr().String()) + ":" + n.ports(strconv.Itoa(int(a.Port())), protocol)
}
