// Package pushtest is a farm in one process, for tests and benchmarks of the push: each
// machine has a real store and a real receiver behind a real SSH server on the
// loopback device; what daemons would do is played. It is no part of the product.
package pushtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
)

// Config of a Farm.
type Config struct {
	Servers int    // real servers, 1 to 250
	Dir     string // for the machines' disks; empty: Dir's
	Log     *slog.Logger
}

// Farm is two directors, eds1 and eds2, with real servers eps1, eps2 ...
type Farm struct {
	Machines map[string]*Machine
	Key      *bundle.Key
	Secrets  map[string]render.Secrets
	Roster   render.Roster
	Station  ssh.Signer
	cfg      Config
	t        testing.TB

	mu   sync.Mutex
	wrap func(node string, c net.Conn) net.Conn
	down map[string]bool // backends that no health check reaches
}

// New starts a farm, which ends with the test.
func New(t testing.TB, cfg Config) *Farm {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir == "" {
		cfg.Dir = Dir(t)
	}
	f := &Farm{t: t, cfg: cfg, Machines: map[string]*Machine{}, Secrets: map[string]render.Secrets{}, down: map[string]bool{}}
	var err error
	if f.Key, err = bundle.NewKey(); err != nil {
		t.Fatal(err)
	}
	f.Station, _ = f.newKey()
	f.Roster = render.Roster{StationKey: f.Key.Public(), StationSSH: public(f.Station)}
	relays := map[string]ssh.Signer{}
	for _, name := range []string{"eds1", "eds2"} {
		signer, text := f.newKey()
		relays[name] = signer
		f.Secrets[name] = render.Secrets{HAKey: []byte(strings.Repeat("5e", 32) + "\n"), RelayKey: text}
	}
	for _, name := range f.Names() {
		m := f.newMachine(name, relays)
		f.Machines[name] = m
		entry := render.Machine{Name: name, HostKey: public(m.host), Age: m.recipient}
		if r := relays[name]; r != nil {
			entry.Relay = public(r)
		}
		f.Roster.Machines = append(f.Roster.Machines, entry)
	}
	slices.SortFunc(f.Roster.Machines, func(a, b render.Machine) int { return strings.Compare(a.Name, b.Name) })
	t.Cleanup(func() {
		for _, m := range f.Machines {
			m.stop()
		}
	})
	return f
}

// Dir is a directory for a farm's disks that goes with the test: in memory where there
// is such a file system, because the stores wait for the disk at every step.
func Dir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "svm-push-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Names of all machines, directors first.
func (f *Farm) Names() []string {
	all := []string{"eds1", "eds2"}
	for i := range f.cfg.Servers {
		all = append(all, fmt.Sprintf("eps%d", i+1))
	}
	return all
}

// YAML is the cluster file of n of the farm's servers. Its text depends on mark, too.
func (f *Farm) YAML(n int, mark string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# %s
cluster: shop
topology: two-router
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.1}
  server: {cidr: 10.1.0.0/16, gateway: 10.1.0.254}
station: {address: 10.1.0.5}
ha: {vrid: 51, key_file: /etc/svm/ha.key}
directors:
  - {name: eds1, priority: 200, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 10.1.0.2}}
  - {name: eds2, priority: 100, client: {device: eth0, address: 192.168.1.3}, server: {device: eth1, address: 10.1.0.3}}
realservers:
`, mark)
	for i := range n {
		fmt.Fprintf(&b, "  - {name: eps%d, address: 10.1.1.%d, device: eth0}\n", i+1, i+1)
	}
	fmt.Fprintf(&b, "services:\n  - name: web\n    vip: 192.168.1.100\n    protocol: tcp\n    ports: 80\n    persistence: {timeout: %ds}\n    servers:\n", 100+len(mark))
	for i := range n {
		fmt.Fprintf(&b, "      - {name: eps%d}\n", i+1)
	}
	return []byte(b.String())
}

// Plan makes a generation of the cluster file and the plan to push it. Its times are short.
func (f *Farm) Plan(generation uint64, yaml []byte) push.Plan {
	f.t.Helper()
	c, err := cluster.Parse("cluster.yaml", yaml)
	if err != nil {
		f.t.Fatal(err)
	}
	in := render.Input{Generation: generation, YAML: yaml, Roster: f.Roster}
	raw, sig, err := bundle.Make(in, bundle.Meta{Author: "test", Time: time.Unix(1790000000, 0)}, f.Secrets, f.Key)
	if err != nil {
		f.t.Fatal(err)
	}
	hosts, err := push.ParseHosts(push.HostLines(f.Roster))
	if err != nil {
		f.t.Fatal(err)
	}
	return push.Plan{
		Cluster: c, Stamp: render.Stamp{Cluster: c.Name, Generation: generation, Digest: in.Digest()},
		Bundle: raw, Signature: sig, Version: Version, Log: f.cfg.Log,
		SSH: push.SSH{Key: f.Station, Hosts: hosts, Dial: f.dial, Timeout: 15 * time.Second, KeepAlive: time.Second},
		Times: push.Times{Step: time.Minute, Away: 5 * time.Second, Retry: 20 * time.Millisecond,
			Health: 20 * time.Second, Poll: 20 * time.Millisecond, Rollback: 30 * time.Second},
	}
}

// Version that the farm's machines say they run.
const Version = "v0.0.0-test"

// Wrap has every new connection to a machine, from the station or a director, go
// through wrap; nil ends that.
func (f *Farm) Wrap(wrap func(node string, c net.Conn) net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrap = wrap
}

// SetDown says whether health checks reach a real server.
func (f *Farm) SetDown(server string, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[server] = down
}

// address of a machine in the cluster file.
func address(name string) string {
	switch name {
	case "eds1":
		return "10.1.0.2:22"
	case "eds2":
		return "10.1.0.3:22"
	}
	return "10.1.1." + strings.TrimPrefix(name, "eps") + ":22"
}

// dial reaches a machine by its address in the cluster file.
func (f *Farm) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	for name, m := range f.Machines {
		if address(name) != addr {
			continue
		}
		if m.off.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
		}
		c, err := new(net.Dialer).DialContext(ctx, "tcp", m.addr())
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.wrap != nil {
			c = f.wrap(name, c)
		}
		return c, nil
	}
	return nil, errors.New("nobody has that address")
}

func (f *Farm) newKey() (ssh.Signer, []byte) {
	f.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		f.t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

func public(s ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

// Sorted are the names of machines, sorted.
func (f *Farm) Sorted() []string { return slices.Sorted(maps.Keys(f.Machines)) }

func (f *Farm) mkdir(parts ...string) string {
	f.t.Helper()
	dir := filepath.Join(append([]string{f.cfg.Dir}, parts...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	return dir
}
