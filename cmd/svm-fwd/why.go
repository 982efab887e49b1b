package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/svm-cluster/svm/forwarder/control"
)

// printWhy says for each server without new connections why, and what mends it.
func printWhy(w io.Writer, s *control.Status) {
	if s.Role != "active" {
		fmt.Fprintf(w, "this director is the %s: it forwards nothing, whatever its servers are\n", s.Role)
	}
	idle := 0
	for i := range s.Services {
		for j := range s.Services[i].Servers {
			v := &s.Services[i].Servers[j]
			if v.State == "ready" {
				continue
			}
			idle++
			fmt.Fprintf(w, "%s %s (%s): %s: %s\n", s.Services[i].Name, v.Name, v.Address, v.State, v.Why)
			if r := remedy(&s.Services[i], v); r != "" && !strings.Contains(v.Why, r) {
				fmt.Fprintf(w, "  mend: %s\n", r)
			}
		}
	}
	if idle == 0 {
		fmt.Fprintln(w, "every server gets new connections")
	}
}

// remedy is what a person can do about a server's state; empty: nothing but wait.
func remedy(s *control.Service, v *control.Server) string {
	switch v.State {
	case "unresolved":
		return fmt.Sprintf("ping %s on this director; if that fails, look at the server, its cable and its VLAN, else at its address in the cluster file", v.Address)
	case "down":
		return fmt.Sprintf("svm-rs check on %s (the check goes to %s there, so the VIP must be on its loopback), then the service itself", v.Name, s.VIP)
	case "maint":
		return fmt.Sprintf("svm-fwd server ready %s %s", s.Name, v.Name)
	case "drain":
		if strings.Contains(v.Why, "operator") || v.Configured > 0 {
			return fmt.Sprintf("svm-fwd server ready %s %s", s.Name, v.Name)
		}
		return fmt.Sprintf("svm-fwd server weight %s %s 1, and for good its weight in the cluster file", s.Name, v.Name)
	case "overloaded":
		return fmt.Sprintf("raise upper of %s in the cluster file, or add servers; it comes back by itself with fewer connections", v.Name)
	}
	return ""
}
