package main

import (
	"fmt"
	"strings"

	"github.com/svm-cluster/svm/bench/farm"
)

// picture draws the farm. All networks appear with one address family; the
// other has the same digits at the end.
func (f *stage) picture(s *screen) string {
	fam := f.Families[0]
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	client := fmt.Sprintf("client %s", farm.Internet().Addr(fam, farm.ClientHost))
	servers := "eps1"
	if n := len(f.EPS); n == 2 {
		servers = "eps1     eps2"
	} else if n > 2 {
		servers = fmt.Sprintf("eps1 ... eps%d", n)
	}
	vip := s.bold("VIP " + f.VIP(fam))
	net := func(name string, n farm.Network) string { return fmt.Sprintf("%-14s %s", name, n.CIDR(fam)) }
	ems := fmt.Sprintf("ems %s", f.ServerNet.Addr(fam, farm.StationHost))

	p("%s", client)
	p("   │")
	if f.Topology.Routers == 2 {
		p("═══╧═══╤══════════════════════════════╤═══  %s", net("internet", farm.Internet()))
		p("       │                              ↑")
		p("    router1                           │")
		p("       ↓                              │")
		p("═══╤═══╧══════════╤═══                │     %s", net("client network", farm.ClientNet()))
		p("   ↓              │                   │")
		p("%s%s   eds2 backup      router2    %s", s.green("eds1 active"), " ", vip)
		p("   ↓              │                   ↑")
	} else {
		p("═══╧═══════════════════════════╤══════════  %s", net("internet", farm.Internet()))
		p("                               │")
		p("                ┌─────────── router1 ←┐")
		p("                ↓                     │")
		p("═══╤════════════╧═╤═══                │     %s", net("client network", farm.ClientNet()))
		p("   ↓              │                   │")
		p("%s%s   eds2 backup            │     %s", s.green("eds1 active"), " ", vip)
		p("   ↓              │                   │")
	}
	p("═══╧════╤═════════╧════╤══════════════╧═══  %s", net("server network", f.ServerNet))
	p("        ↓              │")
	p("   %-14s  %s", servers, ems)
	return b.String()
}
