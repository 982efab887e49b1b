package main

import (
	"fmt"
	"strings"
)

// picture draws the farm. All networks appear with one address family; the
// other has the same digits at the end.
func (f *farm) picture(s *screen) string {
	fam := f.fams[0]
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	client := fmt.Sprintf("client %s", internet.addr(fam, clientHost))
	servers := "eps1"
	if n := len(f.servers); n == 2 {
		servers = "eps1     eps2"
	} else if n > 2 {
		servers = fmt.Sprintf("eps1 ... eps%d", n)
	}
	vip := s.bold("VIP " + f.vip(fam))
	net := func(name string, n network) string { return fmt.Sprintf("%-14s %s", name, n.cidr(fam)) }
	ems := fmt.Sprintf("ems %s", f.serverNet.addr(fam, stationHost))

	p("%s", client)
	p("   │")
	if f.routers == 2 {
		p("═══╧═══╤══════════════════════════════╤═══  %s", net("internet", internet))
		p("       │                              ↑")
		p("    router1                           │")
		p("       ↓                              │")
		p("═══╤═══╧══════════╤═══                │     %s", net("client network", clientNet))
		p("   ↓              │                   │")
		p("%s%s   eds2 backup      router2    %s", s.green("eds1 active"), " ", vip)
		p("   ↓              │                   ↑")
	} else {
		p("═══╧═══════════════════════════╤══════════  %s", net("internet", internet))
		p("                               │")
		p("                ┌─────────── router1 ←┐")
		p("                ↓                     │")
		p("═══╤════════════╧═╤═══                │     %s", net("client network", clientNet))
		p("   ↓              │                   │")
		p("%s%s   eds2 backup            │     %s", s.green("eds1 active"), " ", vip)
		p("   ↓              │                   │")
	}
	p("═══╧════╤═════════╧════╤══════════════╧═══  %s", net("server network", f.serverNet))
	p("        ↓              │")
	p("   %-14s  %s", servers, ems)
	return b.String()
}
