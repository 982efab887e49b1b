package pushtest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
)

// Machine is one machine of a Farm. Its hooks may be changed while nothing runs.
type Machine struct {
	Name     string
	Kind     render.Kind
	Store    *machine.Store
	Receiver *push.Receiver
	// Before, if set, comes before a verb reaches the store, After when it is done; an
	// error of theirs is the verb's.
	Before, After func(v push.Verb, generation uint64) error
	// Refuse, if set, is asked when a configuration is checked or activated.
	Refuse func(now *render.Manifest) error
	// Look, if set, changes what the machine says of its health.
	Look func(h *push.Health)

	Activations atomic.Int64
	// Commands are those that sshd was given, in order.
	commands []string

	farm      *Farm
	root, dir string
	host      ssh.Signer
	recipient string
	off       atomic.Bool
	sshd      *sshd

	mu     sync.Mutex
	active *cluster.Cluster // what the daemon, if there were one, would run by
}

func (f *Farm) newMachine(name string, relays map[string]ssh.Signer) *Machine {
	f.t.Helper()
	m := &Machine{Name: name, Kind: render.RealServer, farm: f, root: f.mkdir(name, "root"), dir: f.mkdir(name, "store")}
	var identity []byte
	allowed := []ssh.PublicKey{f.Station.PublicKey()}
	if relays[name] != nil {
		m.Kind = render.Director
		var err error
		if identity, m.recipient, err = bundle.NewIdentity(); err != nil {
			f.t.Fatal(err)
		}
	} else {
		allowed = nil
		for _, r := range relays {
			allowed = append(allowed, r.PublicKey())
		}
	}
	var err error
	m.Store, err = machine.Open(machine.Config{Root: m.root, Dir: m.dir, Activator: (*daemon)(m), Log: f.cfg.Log})
	if err != nil {
		f.t.Fatal(err)
	}
	m.Receiver = &push.Receiver{
		Store: hooked{m.Store, m}, Kind: m.Kind, Node: name, Pin: f.Key.Public(), Incoming: m.Incoming(),
		Identity: identity, Health: m.health, Version: Version, Log: f.cfg.Log.With("node", name),
	}
	if m.Kind == render.Director {
		m.Receiver.Relay = &push.Relays{
			SSH:     push.SSH{Dial: f.dial, Timeout: 15 * time.Second, KeepAlive: time.Second},
			KeyFile: filepath.Join(m.root, "etc/svm/relay.key"), Timeout: time.Minute,
		}
	}
	m.host, _ = f.newKey()
	m.sshd = startSSHD(f.t, m, allowed)
	return m
}

// Incoming is the directory of uploads.
func (m *Machine) Incoming() string { return filepath.Join(m.dir, "incoming") }

// Root is where the machine's files lie.
func (m *Machine) Root() string { return m.root }

// SetOff takes the machine off the network, or puts it back.
func (m *Machine) SetOff(off bool) {
	m.off.Store(off)
	if off {
		m.sshd.cut()
	}
}

// Cut breaks all connections to the machine.
func (m *Machine) Cut() { m.sshd.cut() }

// NewHostKey is what a machine has that was installed anew.
func (m *Machine) NewHostKey() {
	m.host, _ = m.farm.newKey()
	m.sshd.configure(m.host)
}

// Commands that the machine's sshd was given.
func (m *Machine) Commands() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.commands...)
}

func (m *Machine) stop() { m.sshd.stop() }

func (m *Machine) addr() string { return m.sshd.ln.Addr().String() }

// daemon is the Activator: it plays the daemons.
type daemon Machine

func (d *daemon) Check(_ context.Context, now *render.Manifest, dir string) error {
	if d.Refuse != nil {
		if err := d.Refuse(now); err != nil {
			return err
		}
	}
	_, err := cluster.Load(filepath.Join(dir, "etc/svm/cluster.yaml"))
	return err
}

func (d *daemon) Activate(_ context.Context, _, now *render.Manifest) error {
	d.Activations.Add(1)
	if now == nil {
		d.set(nil)
		return nil
	}
	if d.Refuse != nil {
		if err := d.Refuse(now); err != nil {
			return err
		}
	}
	c, err := cluster.Load(filepath.Join(d.root, "etc/svm/cluster.yaml"))
	if err != nil {
		return err
	}
	d.set(c)
	return nil
}

func (d *daemon) Settle(context.Context, *render.Manifest, *render.Manifest) error { return nil }

func (d *daemon) set(c *cluster.Cluster) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active = c
}

func (m *Machine) running() *cluster.Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.active
}

// health is what the daemons would say.
func (m *Machine) health(context.Context) *push.Health {
	h := &push.Health{}
	c := m.running()
	if c == nil {
		h.Problems = append(h.Problems, "no daemon runs")
	} else if m.Kind == render.Director {
		h.Digest = c.Digest()
		h.Role = "backup"
		if other := m.farm.Machines["eds1"]; m.Name == "eds1" || other.off.Load() || other.running() == nil {
			h.Role = "active"
		}
		h.Services = m.services(c)
	} else {
		for _, v := range c.VIPs() {
			h.VIPs = append(h.VIPs, v.String())
		}
	}
	if m.Look != nil {
		m.Look(h)
	}
	return h
}

func (m *Machine) services(c *cluster.Cluster) (all []push.Service) {
	m.farm.mu.Lock()
	defer m.farm.mu.Unlock()
	for i := range c.Services {
		s := push.Service{Name: c.Services[i].Name}
		for _, b := range c.Services[i].Servers {
			up := !m.farm.down[b.Name]
			back := push.Backend{Name: b.Name, Weight: b.Weight, Up: up && b.Weight > 0}
			if !up {
				back.Reason = "connect: no route to host"
			}
			s.Backends = append(s.Backends, back)
		}
		all = append(all, s)
	}
	return all
}

// File reads one of the machine's files.
func (m *Machine) File(path string) []byte {
	b, err := os.ReadFile(filepath.Join(m.root, path))
	if err != nil {
		return nil
	}
	return b
}

// hooked is the store with the machine's hooks.
type hooked struct {
	*machine.Store
	m *Machine
}

func (h hooked) call(v push.Verb, g uint64, do func() error) error {
	if h.m.Before != nil {
		if err := h.m.Before(v, g); err != nil {
			return err
		}
	}
	err := do()
	if err == nil && h.m.After != nil {
		err = h.m.After(v, g)
	}
	return err
}

func (h hooked) Stage(ctx context.Context, c *render.Config, p machine.Proof) error {
	return h.call(push.Stage, c.Generation, func() error { return h.Store.Stage(ctx, c, p) })
}

func (h hooked) Switch(ctx context.Context, g uint64) error {
	return h.call(push.Switch, g, func() error { return h.Store.Switch(ctx, g) })
}

func (h hooked) Confirm(ctx context.Context, g uint64) error {
	return h.call(push.Confirm, g, func() error { return h.Store.Confirm(ctx, g) })
}

func (h hooked) Rollback(ctx context.Context, g uint64) error {
	return h.call(push.Rollback, g, func() error { return h.Store.Rollback(ctx, g) })
}
