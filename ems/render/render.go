package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
)

// Digest is the SHA-256, in hex, of the cluster file's bytes and the roster. The order
// of the roster's machines does not count.
func (in Input) Digest() string {
	roster, err := json.Marshal(in.Roster.sorted())
	if err != nil { // strings only: not reached
		panic(err)
	}
	h := sha256.New()
	// The lengths keep what ends the file from being taken for the roster.
	fmt.Fprintf(h, "svm input 1\n%d %d\n", len(in.YAML), len(roster))
	h.Write(in.YAML)
	h.Write(roster)
	return hex.EncodeToString(h.Sum(nil))
}

// sorted is a copy with its machines by name.
func (r Roster) sorted() Roster {
	r.Machines = slices.Clone(r.Machines)
	if r.Machines == nil {
		r.Machines = []Machine{}
	}
	slices.SortStableFunc(r.Machines, func(a, b Machine) int { return strings.Compare(a.Name, b.Name) })
	return r
}

// Machine returns the machine of that name; ok is false where the roster has none.
func (r Roster) Machine(name string) (m Machine, ok bool) {
	for _, m := range r.Machines {
		if m.Name == name {
			return m, true
		}
	}
	return Machine{}, false
}

// Renderer renders one Input, whose file it has read once: the work for a farm grows
// with the number of its machines. It is immutable; many goroutines may use it.
type Renderer struct {
	in    Input
	stamp Stamp
	c     *cluster.Cluster
	// services are indexes into c.Services of those that list a real server.
	services map[string][]int
}

// New reads and checks in. What is wrong with the cluster file is returned as
// cluster.Problems.
func New(in Input) (*Renderer, error) {
	if in.Generation == 0 {
		return nil, fmt.Errorf("render: generation 0: they are counted from 1")
	}
	c, err := cluster.Parse("cluster.yaml", in.YAML)
	if err != nil {
		return nil, err
	}
	for _, d := range c.Directors {
		if c.RealServer(d.Name) != nil {
			return nil, fmt.Errorf("render: %s is a director and a real server: give each machine a name of its own, configuration is delivered by name", d.Name)
		}
	}
	in.Roster = in.Roster.sorted()
	for i, m := range in.Roster.Machines {
		if i > 0 && in.Roster.Machines[i-1].Name == m.Name {
			return nil, fmt.Errorf("render: the roster has %s twice: remove one", m.Name)
		}
	}
	r := &Renderer{
		in: in, c: c, services: map[string][]int{},
		stamp: Stamp{Cluster: c.Name, Generation: in.Generation, Digest: in.Digest()},
	}
	for i := range c.Services {
		for _, s := range c.Services[i].Servers {
			r.services[s.Name] = append(r.services[s.Name], i)
		}
	}
	return r, nil
}

// Cluster is what the cluster file says.
func (r *Renderer) Cluster() *cluster.Cluster { return r.c }

// Stamp names the generation.
func (r *Renderer) Stamp() Stamp { return r.stamp }

// ForDirector renders the files of the director node. Renderer.Director does it
// without reading the cluster file again.
func ForDirector(in Input, node string, s Secrets) (*Config, error) {
	r, err := New(in)
	if err != nil {
		return nil, err
	}
	return r.Director(node, s)
}

// ForRealServer renders the files of the real server node: only its own part.
// Renderer.RealServer does it without reading the cluster file again.
func ForRealServer(in Input, node string) (*Config, error) {
	r, err := New(in)
	if err != nil {
		return nil, err
	}
	return r.RealServer(node)
}

// files gathers those of one machine.
type files struct {
	stamp string // the first line of each
	all   []File
}

// add puts the stamp before text.
func (f *files) add(path, text string) {
	f.all = append(f.all, File{Path: path, Mode: 0o644, Data: []byte(f.stamp + text)})
}

func (f *files) secret(path, owner string, data []byte) {
	f.all = append(f.all, File{Path: path, Mode: 0o600, Owner: owner, Secret: true, Data: slices.Clone(data)})
}

// config sorts what was gathered and refuses what no machine would take.
func (r *Renderer) config(node string, kind Kind, f files) (*Config, error) {
	slices.SortFunc(f.all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	c := &Config{Stamp: r.stamp, Node: node, Kind: kind, Files: f.all}
	if err := c.Manifest().check(); err != nil {
		return nil, fmt.Errorf("render: %s: %w", node, err)
	}
	return c, nil
}
