package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/bench/farm"
)

func topologyNames() string {
	var names []string
	for _, t := range farm.Topologies() {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

// chooseTopologies finds the topologies that the flag means.
func chooseTopologies(name string) ([]farm.Topology, error) {
	all := farm.Topologies()
	if name == "all" {
		return all, nil
	}
	i := slices.IndexFunc(all, func(t farm.Topology) bool { return t.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("--topology %s: want one of %s, all", name, topologyNames())
	}
	return all[i : i+1], nil
}

func chooseFamilies(s string) ([]farm.Family, error) {
	switch s {
	case "4":
		return []farm.Family{4}, nil
	case "6":
		return []farm.Family{6}, nil
	case "both":
		return farm.Both(), nil
	}
	return nil, fmt.Errorf("--family %s: want 4, 6 or both", s)
}
