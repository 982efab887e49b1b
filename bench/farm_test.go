package bench

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/sched"
)

// farm is what a director knows: one service on several backends, all of which
// are reached at one MAC address, and the connections.
type farm struct {
	table    *flow.Table
	snapshot atomic.Pointer[forwarder.Snapshot]
	now      func() flow.Tick
}

const numBackends = 4

// newFarm makes a farm with room for so many connections, of which halfOpen
// percent may be half-open.
func (r *road) newFarm(t testing.TB, scheduler string, capacity, halfOpen int, to [6]byte) *farm {
	t.Helper()
	f := &farm{now: clock()}
	var err error
	if f.table, _, err = flow.New(flow.Config{Capacity: capacity, HalfOpen: halfOpen}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.table.Close(false); err != nil {
			t.Error(err)
		}
	})
	service := &forwarder.Service{Name: "web", VIP: vip, Proto: frame.ProtoTCP, Ports: []forwarder.PortRange{{First: 80, Last: 80}}}
	var list []sched.Backend
	for i := range numBackends {
		b := &forwarder.Backend{
			Ref: forwarder.MakeRef(i, 1), Service: service, Name: fmt.Sprintf("eps%d", i+1), Addr: serverAddr,
			Addresses: frame.MakeAddresses(to, r.out), Resolved: true, Accepting: true,
			Load: new(sched.Load), Stats: new(forwarder.Stats),
		}
		service.Backends = append(service.Backends, b)
		list = append(list, sched.Backend{ID: b.Name, Weight: 1, Load: b.Load})
	}
	service.Hashed = service.Backends
	if service.Scheduler, err = sched.New(sched.Config{Name: scheduler}, list, nil); err != nil {
		t.Fatal(err)
	}
	if service.Stateless, err = sched.New(sched.Config{Name: "mh", Flags: []string{"mh-port"}}, list, nil); err != nil {
		t.Fatal(err)
	}
	f.snapshot.Store(&forwarder.Snapshot{
		Active: true, ClientMAC: r.in, Backends: service.Backends,
		VIPs: map[netip.Addr]*forwarder.VIP{vip: {Services: []*forwarder.Service{service}}},
		Timeouts: forwarder.MakeTimeouts(flow.Timeouts{
			flow.Established: 900_000, flow.SynRecv: 60_000, flow.FinWait: 120_000, flow.TimeWait: 120_000,
			flow.Close: 10_000, flow.UDPNew: 300_000, flow.UDP: 300_000, flow.TemplateNew: 60_000,
			flow.Template: 60_000, flow.Fragment: 30_000,
		}),
	})
	return f
}

// establish brings connections into the table the way the packets of their first
// round trip do.
func (f *farm) establish(t testing.TB, r *road, flows uint32) {
	t.Helper()
	core := forwarder.NewCore(f.table)
	var servers, clients pktio.Batch
	syn, ack := newSource(flows, frame.SYN, r.in), newSource(flows, frame.ACK, r.in)
	for range (flows + pktio.BatchSize - 1) / pktio.BatchSize {
		core.Process(syn.next(), &servers, &clients, f.snapshot.Load(), f.now())
		core.Process(ack.next(), &servers, &clients, f.snapshot.Load(), f.now())
	}
	for _, n := range []uint32{0, flows - 1} {
		k := flowKey(n)
		if e, ok := f.table.Lookup(&k, f.table.Hash(&k)); !ok || e.Meta.State() != flow.Established {
			t.Fatalf("flow %d is not established: %v %v", n, ok, e.Meta.State())
		}
	}
	if f.table.Len() != int(flows) {
		t.Fatalf("%d connections in the table, want %d", f.table.Len(), flows)
	}
}
