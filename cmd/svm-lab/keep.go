package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/svm-cluster/svm/bench/netlab"
)

// hints tells how to look around in a farm that stays up.
func (f *farm) hints(p programs, config string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  The farm stays up until ^C. To work on one of its machines, from another shell:\n\n")
	nodes := []*netlab.Node{f.client, f.router1}
	if f.back != f.router1 {
		nodes = append(nodes, f.back)
	}
	nodes = append(append(append(nodes, f.directors...), f.servers...), f.station)
	for _, n := range nodes {
		fmt.Fprintf(&b, "  %-8s %s\n", n.Name(), n.Hint())
	}
	fmt.Fprintf(&b, "\n  for instance   curl http://%s/   on the client,\n", strings.Join(f.vips(), "/   curl http://"))
	fmt.Fprintf(&b, "  and anywhere   %s list --socket %s\n", p.fwd, filepath.Join(f.dir, f.directors[0].Name(), "fwd.sock"))
	fmt.Fprintf(&b, "  The cluster file is %s\n", config)
	return b.String()
}

// vips are the virtual addresses as they stand in a URL.
func (f *farm) vips() (out []string) {
	for _, fam := range f.fams {
		v := f.vip(fam)
		if fam == 6 {
			v = "[" + v + "]"
		}
		out = append(out, v)
	}
	return out
}
