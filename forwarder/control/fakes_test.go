package control

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/guard"
	"github.com/svm-cluster/svm/forwarder/health"
	"github.com/svm-cluster/svm/forwarder/neigh"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// outside is everything round a Control that a test sets and looks at.
type outside struct {
	mu         sync.Mutex
	macs       map[netip.Addr][6]byte
	up         map[string]bool
	changes    chan struct{}
	targets    []health.Target
	vips       []netip.Addr
	active     bool
	guarded    guard.State
	guardErr   error
	guardFails bool                     // whatever is applied
	refuse     func(pktio.Filter) error // asked by SetFilter unless nil
	undone     int
	// relearned are the addresses that the kernel had to ask for again.
	relearned []netip.Addr
	filter    pktio.Filter
	calls     []string // of everybody, in order
}

func newOutside() *outside {
	return &outside{macs: map[netip.Addr][6]byte{}, up: map[string]bool{}, changes: make(chan struct{}, 1)}
}

func (o *outside) note(what string) { o.calls = append(o.calls, what) }

func (o *outside) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = nil
}

type fakeNeighbours struct{ *outside }

func (f fakeNeighbours) SetVIPs(v []netip.Addr, _ [6]byte, active bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vips, f.active = v, active
	if active {
		f.note("announce")
	} else {
		f.note("hush")
	}
}
func (f fakeNeighbours) SetTargets([]netip.Addr) {}
func (f fakeNeighbours) Lookup(a netip.Addr) ([6]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.macs[a]
	return m, ok
}
func (f fakeNeighbours) Changes() <-chan struct{} { return f.changes }
func (f fakeNeighbours) Status() neigh.Status     { return neigh.Status{} }

type fakeHealth struct{ *outside }

func (f fakeHealth) Set(t []health.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = t
}
func (f fakeHealth) Up(key string) (bool, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	up, known := f.up[key]
	return up, known
}
func (f fakeHealth) Changes() <-chan struct{} { return nil }
func (f fakeHealth) Status() []health.Status  { return nil }

type fakeGuard struct{ *outside }

func (f fakeGuard) Apply(s guard.State) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("guard")
	if f.guardErr != nil && (f.guardFails || len(s.VIPs) > 1) {
		return f.guardErr
	}
	f.guarded = s
	return nil
}

func (f fakeGuard) Undo() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.undone++
	f.guarded = guard.State{}
	f.note("undo")
	return nil
}

func (f fakeGuard) Relearn(_ int, addrs ...netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.relearned = append(f.relearned, addrs...)
	return nil
}

type fakeFilter struct{ *outside }

func (f fakeFilter) SetFilter(p pktio.Filter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		if err := f.refuse(p); err != nil {
			return err
		}
	}
	f.filter = p
	f.note("filter")
	return nil
}

// director is a Control with a core on its table, driven without sockets.
type director struct {
	*Control
	*outside
	t     *testing.T
	file  string
	dir   string
	table *flow.Table
	core  *forwarder.Core
	snap  *atomic.Pointer[forwarder.Snapshot]
	now   flow.Tick
}

var clientMAC = frame.MAC{2, 0, 0, 0, 0, 1}

func mac(n byte) [6]byte { return [6]byte{2, 0, 0, 0, 1, n} }

// newDirector starts a director on a cluster file's text. Every real server of
// 192.168.2.0/24 has a MAC address that ends in its last byte.
func newDirector(t *testing.T, text string) *director {
	t.Helper()
	d := &director{t: t, outside: newOutside(), dir: t.TempDir(), now: 1000}
	for n := range byte(255) {
		d.macs[netip.AddrFrom4([4]byte{192, 168, 2, n})] = mac(n)
	}
	d.file = filepath.Join(d.dir, "cluster.yaml")
	d.write(text)
	d.start()
	t.Cleanup(func() { _ = d.table.Close(false) })
	return d
}

func (d *director) write(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.file, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// start makes the Control and its table, as a new process would.
func (d *director) start() {
	d.t.Helper()
	state := filepath.Join(d.dir, "flows")
	table, origin, err := flow.New(flow.Config{Capacity: 4096, HalfOpen: 50, Path: state, BootID: "boot"})
	if err != nil {
		d.t.Fatal(err)
	}
	d.table = table
	d.core = forwarder.NewCore(table)
	d.snap = new(atomic.Pointer[forwarder.Snapshot])
	d.Control, err = New(Config{
		Node: "eds1", Load: func() (*cluster.Cluster, error) { return cluster.Load(d.file) }, Log: slog.New(slog.DiscardHandler),
		Table: table, Origin: origin, Registry: state + RegistrySuffix, Snapshot: d.snap, Now: func() flow.Tick { return d.now },
		Neighbours: fakeNeighbours{d.outside}, Health: fakeHealth{d.outside}, Guard: fakeGuard{d.outside}, Filter: fakeFilter{d.outside},
		ClientMAC: clientMAC, ServerMAC: frame.MAC{2, 0, 0, 0, 0, 2}, Active: true, Mark: func(n int) uint32 { return uint32(100 + n) },
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu2(func() error { return d.change(d.cluster, d.Control.active) })
}

func (d *director) mu2(f func() error) {
	d.t.Helper()
	d.Control.mu.Lock()
	defer d.Control.mu.Unlock()
	if err := f(); err != nil {
		d.t.Fatal(err)
	}
}

// reload writes a new cluster file and takes it over.
func (d *director) reload(text string) ReloadReport {
	d.t.Helper()
	d.write(text)
	r, err := d.Reload()
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// send passes one TCP segment of a client through the core and returns the last
// byte of the MAC address that it left for, 0 when it was dropped.
func (d *director) send(client string, vip string, flags byte) byte {
	d.t.Helper()
	var rx, servers, clients pktio.Batch
	rx.Add(&pktio.Frame{Buf: segment(netip.MustParseAddrPort(client), netip.MustParseAddrPort(vip), flags)})
	d.core.Process(&rx, &servers, &clients, d.snap.Load(), d.now)
	if servers.N == 0 {
		return 0
	}
	return servers.Frames[0].Eth()[5]
}

// connect opens and confirms a connection and returns its server.
func (d *director) connect(client, vip string) byte {
	d.t.Helper()
	first := d.send(client, vip, frame.SYN)
	if again := d.send(client, vip, frame.ACK); again != first {
		d.t.Fatalf("%s: the SYN went to %d, the ACK to %d", client, first, again)
	}
	return first
}

// segment is an IPv4 TCP segment without options or payload.
func segment(src, dst netip.AddrPort, flags byte) []byte {
	b := make([]byte, pktio.HeaderLen+54)
	eth := b[pktio.HeaderLen:]
	copy(eth, clientMAC[:])
	eth[6] = 2
	eth[12], eth[13] = 8, 0
	ip := eth[14:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 40, 64, 6
	s, t := src.Addr().As4(), dst.Addr().As4()
	copy(ip[12:], s[:])
	copy(ip[16:], t[:])
	tcp := ip[20:]
	tcp[0], tcp[1] = byte(src.Port()>>8), byte(src.Port())
	tcp[2], tcp[3] = byte(dst.Port()>>8), byte(dst.Port())
	tcp[12], tcp[13] = 0x50, flags
	return b
}
