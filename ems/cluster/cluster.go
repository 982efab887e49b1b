package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 4 << 20

// Load reads and checks the cluster file at path. What is wrong with its
// contents is returned as Problems, as by Parse; a file that cannot be read is
// the error of package os.
func Load(path string) (*Cluster, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cluster file: %w", err)
	}
	defer f.Close()
	// One byte more than is allowed tells Parse that the file is too large.
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("cluster file: %w", err)
	}
	return Parse(path, data)
}

// Parse reads and checks a cluster file. name is what messages call the file.
// Everything that is wrong with it is returned at once, as Problems; what breaks
// the YAML itself ends the search. It opens no file and keeps no reference to data.
func Parse(name string, data []byte) (*Cluster, error) {
	r := newReader(name)
	root, ok := document(r, data)
	if !ok {
		return nil, r.err()
	}
	c := new(Cluster)
	if r.at[""] = root; r.open(place{root, ""}) {
		schema().read(r, place{root, ""}, c)
		if r.fine("") {
			checks{r, c}.all()
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Default is a cluster of nothing but defaults: what the keys mean that a file
// leaves out. It has no name and no machine, so YAML of it alone doesn't parse.
func Default() *Cluster {
	c := new(Cluster)
	schema().defaults(newReader(""), place{node: &yaml.Node{}}, c) // what is missing is the caller's to add
	return c
}

// YAML writes the cluster as a file that Parse reads back to the same Cluster.
// Two clusters that mean the same give the same bytes: keys stand in the order
// of the schema, defaults are left out.
func (c *Cluster) YAML() []byte {
	var b strings.Builder
	for _, f := range schema() {
		s := f.show(c)
		if s == "" {
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", f.key, s)
	}
	return []byte(b.String())
}

// Text is like YAML, with each machine and each service on a line of its own: for
// people, and for comparing two files line by line.
func (c *Cluster) Text() []byte {
	var b strings.Builder
	for _, f := range schema() {
		switch s := f.show(c); {
		case s == "":
		case f.each != nil && s != "[]":
			fmt.Fprintf(&b, "%s:\n  - %s\n", f.key, strings.Join(f.each(c), "\n  - "))
		default:
			fmt.Fprintf(&b, "%s: %s\n", f.key, s)
		}
	}
	return []byte(b.String())
}

// Digest is the SHA-256 of YAML in hex: the same for files that mean the same,
// whatever their comments, order of keys and spelled-out defaults. The order of
// lists counts, since schedulers go by it.
func (c *Cluster) Digest() string {
	sum := sha256.Sum256(c.YAML())
	return hex.EncodeToString(sum[:])
}

// Director returns the director of that name, or nil. It points into c.
func (c *Cluster) Director(name string) *Director {
	return find(c.Directors, func(d *Director) bool { return d.Name == name })
}

// RealServer returns the real server of that name, or nil. It points into c.
func (c *Cluster) RealServer(name string) *RealServer {
	return find(c.RealServers, func(s *RealServer) bool { return s.Name == name })
}

// Service returns the service of that name, or nil. It points into c.
func (c *Cluster) Service(name string) *Service {
	return find(c.Services, func(s *Service) bool { return s.Name == name })
}

func find[T any](all []T, match func(*T) bool) *T {
	for i := range all {
		if match(&all[i]) {
			return &all[i]
		}
	}
	return nil
}

// VIPs returns the virtual addresses of all services, each once, sorted.
func (c *Cluster) VIPs() []netip.Addr {
	vips := make([]netip.Addr, 0, len(c.Services))
	for i := range c.Services {
		vips = append(vips, c.Services[i].VIP)
	}
	slices.SortFunc(vips, netip.Addr.Compare)
	return slices.Compact(vips)
}
