package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/svm-cluster/svm/forwarder/control"
)

// body is what a list shows of each server.
type body int

const (
	rules body = iota
	stats
	rates
	thresholds
)

// ipvsVersion stands in the first line, for programs that look at it: the format
// is that of this version.
const ipvsVersion = "1.2.1"

// table prints services and servers as ipvsadm 1.31 does, but cuts nothing off: a
// long name moves the columns behind it.
type table struct {
	w     io.Writer
	names names
	body  body
	exact bool
}

func (t *table) print(s *control.Status) {
	fmt.Fprintf(t.w, "IP Virtual Server version %s (size=%d)\n", ipvsVersion, s.Table.Size)
	const local, remote = "Prot LocalAddress:Port", "  -> RemoteAddress:Port"
	switch t.body {
	case rules:
		fmt.Fprintf(t.w, "%s Scheduler Flags\n%s           Forward Weight ActiveConn InActConn\n", local, remote)
	case stats:
		fmt.Fprintf(t.w, "%-33s %8s %8s %8s %8s %8s\n%s\n", local, "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes", remote)
	case rates:
		fmt.Fprintf(t.w, "%-33s %8s %8s %8s %8s %8s\n%s\n", local, "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS", remote)
	case thresholds:
		fmt.Fprintf(t.w, "%-33s %-10s %-10s %-10s %-10s\n%s\n", local, "Uthreshold", "Lthreshold", "ActiveConn", "InActConn", remote)
	}
	services := slices.Clone(s.Services)
	slices.SortStableFunc(services, compareServices)
	for i := range services {
		t.service(&services[i])
	}
}

func (t *table) service(s *control.Service) {
	ports := t.names.ports(s.Ports, s.Protocol)
	name := fmt.Sprintf("%-4s %s:%s", strings.ToUpper(s.Protocol), t.names.host(s.VIP), ports)
	switch t.body {
	case rules:
		fmt.Fprintf(t.w, "%s %s\n", name, schedulerText(s))
	case stats:
		fmt.Fprintf(t.w, "%-33s%s\n", name, t.traffic(s.Traffic))
	case rates:
		fmt.Fprintf(t.w, "%-33s%s\n", name, t.rates(s.Rates))
	case thresholds:
		fmt.Fprintf(t.w, "%s\n", name)
	}
	servers := slices.Clone(s.Servers)
	slices.SortStableFunc(servers, func(a, b control.Server) int { return compareAddresses(a.Address, b.Address) })
	for _, v := range servers {
		name := t.names.host(v.Address) + ":" + ports
		switch t.body {
		case rules:
			fmt.Fprintf(t.w, "  -> %-28s %-7s %-6d %-10d %-10d\n", name, "Route", weight(&v), v.Active, v.Inactive)
		case stats:
			fmt.Fprintf(t.w, "  -> %-28s%s\n", name, t.traffic(v.Traffic))
		case rates:
			fmt.Fprintf(t.w, "  -> %-28s%s\n", name, t.rates(v.Rates))
		case thresholds:
			fmt.Fprintf(t.w, "  -> %-28s %-10d %-10d %-10d %-10d\n", name, v.Upper, v.Lower, v.Active, v.Inactive)
		}
	}
}

// weight is what the schedulers go by: 0 for a server that gets no new connection
// for another reason than its load, as keepalived shows one that is down.
func weight(v *control.Server) int {
	switch v.State {
	case "ready", "overloaded":
		return v.Weight
	}
	return 0
}

// schedulerText is the scheduler and what ipvsadm calls flags.
func schedulerText(s *control.Service) string {
	text := s.Scheduler
	if flags := flagsText(s); flags != "" {
		text += " (" + flags + ")"
	}
	if s.Persistence > 0 {
		text += fmt.Sprintf(" persistent %.0f", s.Persistence.Seconds())
		vip, _ := netip.ParseAddr(s.VIP)
		switch {
		case s.Netmask == vip.BitLen():
		case vip.Is4():
			text += " mask " + net.IP(net.CIDRMask(s.Netmask, 32)).String()
		default:
			text += fmt.Sprintf(" mask %d", s.Netmask)
		}
	}
	if s.OnePacket {
		text += " ops"
	}
	return text
}

// flagsText writes flags as ipvsadm does: with the scheduler's name, fallback first.
func flagsText(s *control.Service) string {
	var list []string
	for _, f := range s.Flags {
		if f == "fallback" {
			f = s.Scheduler + "-fallback"
		}
		list = append(list, f)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

func (t *table) traffic(v control.Traffic) string {
	return t.number(v.Connections) + t.number(v.Packets) + t.number(0) + t.number(v.Bytes) + t.number(0)
}

func (t *table) rates(v control.Rates) string {
	round := func(f float64) string { return t.number(uint64(math.Round(max(f, 0)))) }
	return round(v.Connections) + round(v.Packets) + t.number(0) + round(v.Bytes) + t.number(0)
}

// number is nine columns wide, or more where it must be.
func (t *table) number(n uint64) string {
	switch {
	case t.exact:
		return fmt.Sprintf(" %8d", n)
	case n < 1e8:
		return fmt.Sprintf("%9d", n)
	case n < 1e9:
		return fmt.Sprintf("%8dK", n/1e3)
	case n < 1e11:
		return fmt.Sprintf("%8dM", n/1e6)
	case n < 1e14:
		return fmt.Sprintf("%8dG", n/1e9)
	}
	return fmt.Sprintf("%8dT", n/1e12)
}

// compareServices is ipvsadm's order: family, protocol, address, port.
func compareServices(a, b control.Service) int {
	return cmp.Or(
		cmp.Compare(strings.Count(a.VIP, ":"), 0)-cmp.Compare(strings.Count(b.VIP, ":"), 0),
		strings.Compare(a.Protocol, b.Protocol),
		compareAddresses(a.VIP, b.VIP),
		cmp.Compare(a.FirstPort, b.FirstPort),
	)
}

func compareAddresses(a, b string) int {
	x, _ := netip.ParseAddr(a)
	y, _ := netip.ParseAddr(b)
	return x.Compare(y)
}

// printConnections prints connections as they come.
func printConnections(w io.Writer, names names, each func(func(control.Connection) bool) error) error {
	fmt.Fprintf(w, "IPVS connection entries\npro expire %-11s %-18s %-18s %s\n", "state", "source", "virtual", "destination")
	return each(func(c control.Connection) bool {
		left := int(c.Expires / time.Second)
		_, err := fmt.Fprintf(w, "%-3s %-6s %-11s %-18s %-18s %s\n", c.Protocol, fmt.Sprintf("%02d:%02d", left/60, left%60), c.State,
			names.addrPort(c.Source, c.Protocol), names.addrPort(c.Virtual, c.Protocol), cmp.Or(names.addrPort(c.Server, c.Protocol), "-"))
		return err == nil
	})
}
