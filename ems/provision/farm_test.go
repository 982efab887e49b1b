package provision

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// station makes generations of one cluster.
type station struct {
	key      *bundle.Key
	identity map[string][]byte // of the directors
	roster   render.Roster
	name     string
	mac      string // of eps1
	more     string // at the end of the file
}

func newStation(t testing.TB, mac string) *station {
	t.Helper()
	key, err := bundle.NewKey()
	check(t, err)
	s := &station{key: key, name: "shop", mac: mac, identity: map[string][]byte{}, roster: render.Roster{StationKey: key.Public()}}
	for _, d := range []string{"eds1", "eds2"} {
		id, to, err := bundle.NewIdentity()
		check(t, err)
		s.identity[d] = id
		s.roster.Machines = append(s.roster.Machines, render.Machine{Name: d, Age: to})
	}
	return s
}

func (s *station) yaml() string {
	mac := ""
	if s.mac != "" {
		mac = ", mac: \"" + s.mac + "\""
	}
	return fmt.Sprintf(`cluster: %s
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.1}
  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254}
station: {address: 192.168.2.5}
directors:
  - {name: eds1, priority: 200, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
  - {name: eds2, priority: 100, client: {device: eth0, address: 192.168.1.3}, server: {device: eth1, address: 192.168.2.3}}
realservers:
  - {name: eps1, address: 192.168.2.11, device: eth0%s}
  - {name: eps2, address: 192.168.2.12, device: eth0}
services:
  - name: web
    vip: 192.168.1.100
    ports: 80
    servers: [{name: eps1}, {name: eps2}]
%s`, s.name, mac, s.more)
}

// generation makes and signs one.
func (s *station) generation(t testing.TB, n uint64) (raw, sig []byte, b *bundle.Bundle) {
	t.Helper()
	secrets := map[string]render.Secrets{}
	for d := range s.identity {
		secrets[d] = render.Secrets{RelayKey: pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte(strings.Repeat(d, 80))})}
	}
	in := render.Input{Generation: n, YAML: []byte(s.yaml()), Roster: s.roster}
	raw, sig, err := bundle.Make(in, bundle.Meta{Author: "ada", Note: "test", Time: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}, secrets, s.key)
	check(t, err)
	b, err = bundle.Open(raw, sig, s.key.Public())
	check(t, err)
	return raw, sig, b
}

// director gives a director's store the generation, as a push does.
func (s *station) director(t testing.TB, store *machine.Store, node string, n uint64, confirmed bool) {
	t.Helper()
	raw, sig, b := s.generation(t, n)
	secrets, err := b.Unseal(node, s.identity[node])
	check(t, err)
	c, signed, err := b.Director(node, secrets)
	check(t, err)
	ctx := context.Background()
	check(t, store.Stage(ctx, c, machine.Proof{Manifest: []byte(signed.Manifest), Signature: []byte(signed.Signature), Bundle: raw, BundleSig: sig}))
	check(t, store.Switch(ctx, n))
	if confirmed {
		check(t, store.Confirm(ctx, n))
	}
}

// server gives a real server's store the generation: staged, switched or confirmed.
func (s *station) server(t testing.TB, store *machine.Store, node string, n uint64, phase machine.Phase) {
	t.Helper()
	c, proof := s.config(t, node, n)
	ctx := context.Background()
	check(t, store.Stage(ctx, c, proof))
	if phase != machine.Staged {
		check(t, store.Switch(ctx, n))
	}
	if phase == machine.Settled {
		check(t, store.Confirm(ctx, n))
	}
}

func (s *station) part(t testing.TB, node string, n uint64) []byte {
	t.Helper()
	_, _, b := s.generation(t, n)
	raw, err := b.Part(node)
	check(t, err)
	return raw
}

func (s *station) config(t testing.TB, node string, n uint64) (*render.Config, machine.Proof) {
	t.Helper()
	o, _, err := partOffer(s.part(t, node, n), s.key.Public(), node)
	check(t, err)
	c, proof, err := o.open()
	check(t, err)
	return c, proof
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB, dir string) *machine.Store {
	t.Helper()
	s, err := openStore(dir)
	check(t, err)
	return s
}

func state(t testing.TB, s *machine.Store) machine.State {
	t.Helper()
	st, err := s.State(context.Background())
	check(t, err)
	return st
}

func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, data, 0o600))
	return path
}
