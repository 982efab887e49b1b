package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/sched"
)

// registry gives every backend the reference that the connection table stores for
// it, and keeps it over reloads and, in a file beside the table, over a crash: a
// connection must find the server that it was given to. A backend that was gone
// and comes back gets another reference: its old connections went elsewhere.
type registry struct {
	path    string // "" : not kept
	nonce   uint64 // of the table that the references are for
	records []record
	gens    []int // by index: how often it was given away
	dirty   bool
}

// record is one backend's identity: a server in a service. A service is known
// again by its name or, when it was renamed, by its first port.
type record struct {
	Index      int        `json:"index"`
	Generation int        `json:"generation"`
	VIP        netip.Addr `json:"vip"`
	Protocol   string     `json:"protocol"`
	Service    string     `json:"service"`
	Port       uint16     `json:"port"`
	Server     netip.Addr `json:"server"`

	load  *sched.Load
	stats *forwarder.Stats
	ended bool
}

type registryFile struct {
	Nonce       uint64   `json:"nonce"`
	Generations []int    `json:"generations"`
	Backends    []record `json:"backends"`
}

// openRegistry reads the file of a former process. known is false when it doesn't
// belong to the table with that nonce; the table's entries then mean nothing.
func openRegistry(path string, nonce uint64) (r *registry, known bool, err error) {
	r = &registry{path: path, nonce: nonce, dirty: true}
	if path == "" {
		return r, false, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var f registryFile
	if json.Unmarshal(raw, &f) != nil || f.Nonce != nonce {
		return r, false, nil
	}
	seen := map[int]bool{}
	for i := range f.Backends {
		b := &f.Backends[i]
		if b.Index < 0 || b.Index >= len(f.Generations) || seen[b.Index] {
			return r, false, nil
		}
		seen[b.Index] = true
		b.load, b.stats = new(sched.Load), new(forwarder.Stats)
	}
	r.records, r.gens, r.dirty = f.Backends, f.Generations, false
	return r, true, nil
}

// next returns a copy to take from, in which every record ends unless it is taken.
// The original stays what it was, so a plan can be dropped.
func (r *registry) next() *registry {
	n := *r
	n.records = slices.Clone(r.records)
	n.gens = slices.Clone(r.gens)
	for i := range n.records {
		n.records[i].ended = true
	}
	return &n
}

// take returns the record of a server in a service; it makes one if need be.
func (r *registry) take(s *cluster.Service, server netip.Addr) (*record, error) {
	var found *record
	for i := range r.records {
		b := &r.records[i]
		if !b.ended || b.Server != server || b.VIP != s.VIP || b.Protocol != string(s.Protocol) {
			continue
		}
		if b.Service == s.Name {
			found = b
			break
		}
		if found == nil && b.Port == s.Ports[0].First {
			found = b
		}
	}
	if found == nil {
		index, err := r.free()
		if err != nil {
			return nil, err
		}
		r.records = append(r.records, record{
			Index: index, Generation: r.gens[index], VIP: s.VIP, Protocol: string(s.Protocol), Server: server,
			load: new(sched.Load), stats: new(forwarder.Stats),
		})
		found = &r.records[len(r.records)-1]
		r.dirty = true
	}
	if found.Service != s.Name || found.Port != s.Ports[0].First {
		found.Service, found.Port = s.Name, s.Ports[0].First
		r.dirty = true
	}
	found.ended = false
	copied := *found
	return &copied, nil
}

// free returns an index that no record has, with a new generation.
func (r *registry) free() (int, error) {
	used := make([]bool, len(r.gens))
	for i := range r.records {
		used[r.records[i].Index] = true
	}
	for i, u := range used {
		if !u {
			r.gens[i]++
			return i, nil
		}
	}
	if len(r.gens) == forwarder.MaxBackends {
		return 0, fmt.Errorf("more than %d backends", forwarder.MaxBackends)
	}
	r.gens = append(r.gens, 0)
	return len(r.gens) - 1, nil
}

// keep forgets what was not taken and writes the file if anything changed. The
// file must be there before a worker stores the first new reference.
func (r *registry) keep() error {
	before := len(r.records)
	r.records = slices.DeleteFunc(r.records, func(b record) bool { return b.ended })
	r.dirty = r.dirty || len(r.records) != before
	if !r.dirty || r.path == "" {
		return nil
	}
	raw, err := json.Marshal(registryFile{Nonce: r.nonce, Generations: r.gens, Backends: r.records})
	if err == nil {
		err = replaceFile(r.path, raw)
	}
	if err != nil {
		return fmt.Errorf("keep the backends' references: %w", err)
	}
	r.dirty = false
	return nil
}

// replaceFile writes a file so that a crash leaves the old one or the new one.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
