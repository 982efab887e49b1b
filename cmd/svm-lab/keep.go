package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/svm-cluster/svm/bench/netlab"
)

// hints tells how to look around in a farm that stays up.
func (f *stage) hints() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  The farm stays up until ^C. To work on one of its machines, from another shell:\n\n")
	nodes := []*netlab.Node{f.Client, f.Router1}
	if f.Back != f.Router1 {
		nodes = append(nodes, f.Back)
	}
	nodes = append(append(append(nodes, f.EDS...), f.EPS...), f.Station)
	for _, n := range nodes {
		fmt.Fprintf(&b, "  %-8s %s\n", n.Name(), n.Hint())
	}
	fmt.Fprintf(&b, "\n  for instance   curl http://%s/   on the client,\n", strings.Join(f.vips(), "/   curl http://"))
	fmt.Fprintf(&b, "  and anywhere   %s list --socket %s\n", f.Programs.FWD, f.Path(f.EDS[0], filepath.Base(f.Socket())))
	fmt.Fprintf(&b, "  The cluster file is %s\n", f.ClusterFile())
	return b.String()
}

// vips are the virtual addresses as they stand in a URL.
func (f *stage) vips() (out []string) {
	for _, fam := range f.Families {
		v := f.VIP(fam)
		if fam == 6 {
			v = "[" + v + "]"
		}
		out = append(out, v)
	}
	return out
}
