package forwarder

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/sched"
)

// A rig is a core on a table with services that a test can change on the way. It
// builds Snapshots as forwarder/control does.
type rig struct {
	t        testing.TB
	table    *flow.Table
	core     *Core
	specs    []*spec
	snap     *Snapshot
	active   bool
	now      flow.Tick
	idle     flow.Timeouts
	counters Counters

	rx, servers, clients pktio.Batch
}

type spec struct {
	name    string
	vip     string
	proto   uint8
	ports   []PortRange
	sched   string
	flags   []string
	persist uint32
	mask    int
	one     bool
	servers []*server
}

type server struct {
	name       string
	weight     int
	generation int
	unresolved bool
	refusing   bool // takes no new connections
	cut        bool
	removed    bool
	load       *sched.Load
	stats      *Stats
}

func servers(names string) (list []*server) {
	for _, name := range strings.Fields(names) {
		list = append(list, &server{name: name, weight: 1, load: new(sched.Load), stats: new(Stats)})
	}
	return list
}

const (
	vip4, vip4b = "192.0.2.100", "192.0.2.101"
	vip6        = "2001:db8:1::100"
)

var clientMAC = frame.MAC{2, 0xc, 0, 0, 0, 1}

// standardSpecs are the services of most tests, each with servers a and b.
func standardSpecs() []*spec {
	one := func(p uint16) []PortRange { return []PortRange{{p, p}} }
	return []*spec{
		{name: "web", vip: vip4, proto: frame.ProtoTCP, ports: []PortRange{{80, 80}, {443, 443}}, sched: "rr", servers: servers("a b")},
		{name: "range", vip: vip4, proto: frame.ProtoTCP, ports: []PortRange{{8000, 8999}}, sched: "wlc", servers: servers("a b")},
		{name: "sticky", vip: vip4, proto: frame.ProtoTCP, ports: []PortRange{{7000, 7001}}, sched: "rr", persist: 300_000, mask: 24, servers: servers("a b")},
		{name: "dns", vip: vip4, proto: frame.ProtoUDP, ports: one(53), sched: "rr", servers: servers("a b")},
		{name: "one", vip: vip4, proto: frame.ProtoUDP, ports: one(5353), sched: "rr", one: true, servers: servers("a b")},
		{name: "any", vip: vip4b, proto: frame.ProtoTCP, ports: []PortRange{{1, 65535}}, sched: "rr", servers: servers("a b")},
		{name: "web6", vip: vip6, proto: frame.ProtoTCP, ports: one(80), sched: "rr", servers: servers("a b")},
		{name: "sticky6", vip: vip6, proto: frame.ProtoTCP, ports: one(7000), sched: "rr", persist: 300_000, mask: 64, servers: servers("a b")},
		{name: "dns6", vip: vip6, proto: frame.ProtoUDP, ports: one(53), sched: "rr", servers: servers("a b")},
	}
}

// idleTimes are IPVS's defaults, in milliseconds.
func idleTimes() flow.Timeouts {
	return flow.Timeouts{
		flow.Established: 900_000, flow.SynRecv: 60_000, flow.FinWait: 120_000, flow.TimeWait: 120_000,
		flow.Close: 10_000, flow.UDPNew: 300_000, flow.UDP: 300_000, flow.TemplateNew: 60_000,
		flow.Template: 60_000, flow.Fragment: 30_000,
	}
}

func newRig(t testing.TB, capacity, halfOpen int) *rig {
	t.Helper()
	table, _, err := flow.New(flow.Config{Capacity: capacity, HalfOpen: halfOpen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close(true) })
	r := &rig{t: t, table: table, core: NewCore(table), specs: standardSpecs(), active: true, now: 1 << 31, idle: idleTimes()}
	r.rebuild()
	return r
}

// spec and server find what a test wants to change; rebuild puts it in force.
func (r *rig) spec(name string) *spec {
	for _, s := range r.specs {
		if s.name == name {
			return s
		}
	}
	r.t.Fatalf("no service %s", name)
	return nil
}

func (r *rig) server(name string) *server { // "web/a"
	svc, srv, _ := strings.Cut(name, "/")
	for _, s := range r.spec(svc).servers {
		if s.name == srv {
			return s
		}
	}
	r.t.Fatalf("no server %s", name)
	return nil
}

// change does something to a server and rebuilds.
func (r *rig) change(name string, f func(s *server)) {
	f(r.server(name))
	r.rebuild()
}

func (r *rig) rebuild() {
	r.core.books.publish(&r.counters)
	r.snap = r.build()
}

func (r *rig) build() *Snapshot {
	snap := &Snapshot{Active: r.active, ClientMAC: clientMAC, VIPs: map[netip.Addr]*VIP{}, Timeouts: MakeTimeouts(r.idle)}
	for i, sp := range r.specs {
		s := &Service{Name: sp.name, VIP: netip.MustParseAddr(sp.vip), Proto: sp.proto, Ports: sp.ports, OnePacket: sp.one}
		if sp.persist > 0 {
			s.Persistence = sp.persist
			s.MaskHi, s.MaskLo = frame.MaskWords(sp.mask, s.VIP.Is4())
		}
		var list, free []sched.Backend
		for j, srv := range sp.servers {
			if srv.removed {
				continue
			}
			index := i*8 + j
			b := &Backend{
				Ref: MakeRef(index, srv.generation), Service: s, Name: srv.name,
				Addr:      netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j + 1)}),
				Addresses: serverAddresses(i, j), Resolved: !srv.unresolved,
				Accepting: !srv.unresolved && !srv.refusing && srv.weight > 0,
				Cut:       srv.cut, Load: srv.load, Stats: srv.stats,
			}
			for len(snap.Backends) <= index {
				snap.Backends = append(snap.Backends, nil)
			}
			snap.Backends[index] = b
			if b.Accepting {
				s.Backends = append(s.Backends, b)
				list = append(list, sched.Backend{ID: b.Addr.String(), Weight: srv.weight, Load: srv.load})
				free = append(free, sched.Backend{ID: b.Addr.String(), Weight: srv.weight, Load: new(sched.Load)})
			}
		}
		s.Hashed = s.Backends
		var prev *Service
		if r.snap != nil {
			prev = r.snap.VIPs[s.VIP].Service(sp.proto, sp.ports[0].First)
		}
		s.Scheduler = r.scheduler(sched.Config{Name: sp.sched, Flags: sp.flags, TableSize: 251}, list, prev)
		s.Stateless = r.scheduler(sched.Config{Name: "mh", Flags: []string{"mh-port"}, TableSize: 251}, free, nil)
		vip := snap.VIPs[s.VIP]
		if vip == nil {
			vip = &VIP{}
			snap.VIPs[s.VIP] = vip
		}
		vip.Services = append(vip.Services, s)
	}
	return snap
}

func (r *rig) scheduler(cfg sched.Config, list []sched.Backend, prev *Service) sched.Scheduler {
	var old sched.Scheduler
	if prev != nil {
		old = prev.Scheduler
	}
	s, err := sched.New(cfg, list, old)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func serverAddresses(service, server int) frame.Addresses {
	return frame.MakeAddresses(frame.MAC{2, 0xb, 0, 0, byte(service), byte(server + 1)}, frame.MAC{2, 0xd, 0, 0, 0, 2})
}

// backendOf names the backend that a frame's addresses lead to: "web/a".
func (r *rig) backendOf(eth []byte) string {
	for i, sp := range r.specs {
		for j, srv := range sp.servers {
			a := serverAddresses(i, j)
			if bytes.Equal(a[:], eth[:12]) {
				return sp.name + "/" + srv.name
			}
		}
	}
	return fmt.Sprintf("nobody at %x", eth[:12])
}

// fill lays frames into the receive batch, each behind a virtio header.
func (r *rig) fill(frames ...[]byte) {
	r.rx.N = 0
	for i, eth := range frames {
		buf := make([]byte, pktio.HeaderLen, pktio.HeaderLen+len(eth))
		binary.BigEndian.PutUint16(buf, uint16(i)+1) // must go out as it came
		r.rx.Add(&pktio.Frame{Buf: append(buf, eth...), Token: uint32(i)})
	}
}

// process runs the core over the receive batch.
func (r *rig) process() []Reason {
	r.core.Process(&r.rx, &r.servers, &r.clients, r.snap, r.now)
	return r.core.Reasons(&r.rx)
}

// send processes frames, one batch of them, checks that every byte that went out
// is right, and returns for each what became of it: "reason" or "reason backend".
func (r *rig) send(frames ...[]byte) (got []string) {
	r.t.Helper()
	r.fill(frames...)
	return r.check(frames)
}

func (r *rig) check(frames [][]byte) (got []string) {
	r.t.Helper()
	toServers, toClients := 0, 0
	for i, reason := range r.process() {
		what := reason.String()
		buf := r.rx.Frames[i].Buf
		eth, header := buf[pktio.HeaderLen:], buf[:pktio.HeaderLen]
		switch reason.Verdict() {
		case Forward:
			out := &r.servers.Frames[toServers]
			toServers++
			if &out.Buf[0] != &buf[0] || len(out.Buf) != len(buf) || out.Token != uint32(i) {
				r.t.Errorf("frame %d was copied or changed its place", i)
			}
			if !bytes.Equal(eth[12:], frames[i][12:]) {
				r.t.Errorf("frame %d changed behind the Ethernet addresses:\n in %x\nout %x", i, frames[i], eth)
			}
			if binary.BigEndian.Uint16(header) != uint16(i)+1 {
				r.t.Errorf("frame %d lost its virtio header", i)
			}
			what += " " + r.backendOf(eth)
		case Reply:
			out := &r.clients.Frames[toClients]
			toClients++
			if &out.Buf[0] != &buf[0] {
				r.t.Errorf("frame %d was copied", i)
			}
			if want := wantReply(frames[i]); !bytes.Equal(eth, want) {
				r.t.Errorf("frame %d, reply:\n got %x\nwant %x", i, eth, want)
			}
			if !bytes.Equal(header, make([]byte, pktio.HeaderLen)) {
				r.t.Errorf("frame %d leaves with the request's virtio header", i)
			}
		default:
			if !bytes.Equal(eth, frames[i]) {
				r.t.Errorf("frame %d was dropped and changed", i)
			}
		}
		got = append(got, what)
	}
	if r.servers.N != toServers || r.clients.N != toClients {
		r.t.Errorf("%d and %d frames go out, want %d and %d", r.servers.N, r.clients.N, toServers, toClients)
	}
	return got
}

// expect sends frames and compares what became of them.
func (r *rig) expect(want string, frames ...[]byte) {
	r.t.Helper()
	for i, got := range r.send(frames...) {
		if got != want {
			r.t.Errorf("frame %d: %s, want %s", i, got, want)
		}
	}
}

// one sends a frame and returns what became of it.
func (r *rig) one(eth []byte) string {
	r.t.Helper()
	return r.send(eth)[0]
}

// balanced compares every backend's counts with the table's contents.
func (r *rig) balanced() {
	r.t.Helper()
	want := map[*Backend][2]int64{}
	n := 0
	r.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool {
		n++
		if b := r.snap.Backend(e.Meta.Backend()); b != nil && e.Meta.State().Counted() {
			c := want[b]
			if e.Meta.State().Active() {
				c[0]++
			} else {
				c[1]++
			}
			want[b] = c
		}
		return true
	})
	if n != r.table.Len() {
		r.t.Errorf("Len %d, %d entries", r.table.Len(), n)
	}
	for _, b := range r.snap.Backends {
		if b == nil {
			continue
		}
		if got := [2]int64{b.Load.Active(), b.Load.Inactive()}; got != want[b] {
			r.t.Errorf("%s/%s counts %v active and inactive connections, the table holds %v", b.Service.Name, b.Name, got, want[b])
		}
	}
}

// sweep walks the whole table.
func (r *rig) sweep() {
	r.core.snap, r.core.now = r.snap, r.now
	r.table.Sweep(0, r.table.Buckets(), r.now, r.core)
}
