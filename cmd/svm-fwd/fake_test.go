package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/guard"
	"github.com/svm-cluster/svm/forwarder/health"
	"github.com/svm-cluster/svm/forwarder/neigh"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// fake is a director without devices: a real Control and a real core, and round
// them what a script says. Every real server is found and every check good until
// the script says otherwise.
type fake struct {
	mu      sync.Mutex
	lost    map[netip.Addr]bool
	down    map[string]bool
	changes chan struct{}

	control *control.Control
	core    *forwarder.Core
	snap    *atomic.Pointer[forwarder.Snapshot]
	stop    func() error
}

// fakeNow is the time in the table; it stands still, so that what is left of a
// connection's time is exact.
const fakeNow = flow.Tick(1000)

var fakeMAC = frame.MAC{2, 0, 0, 0, 0, 1}

// startFake serves a director with the cluster file on a socket.
func startFake(file, socket string, role bool) (*fake, error) {
	table, origin, err := flow.New(flow.Config{Capacity: 1000, HalfOpen: 25})
	if err != nil {
		return nil, err
	}
	f := &fake{
		lost: map[netip.Addr]bool{}, down: map[string]bool{}, changes: make(chan struct{}, 1),
		core: forwarder.NewCore(table), snap: new(atomic.Pointer[forwarder.Snapshot]),
	}
	log := slog.New(slog.DiscardHandler)
	f.control, err = control.New(control.Config{
		Node: "eds1", Version: "v0.0.0-test", Load: func() (*cluster.Cluster, error) { return cluster.Load(file) }, Log: log,
		Table: table, Origin: origin, Snapshot: f.snap, Now: func() flow.Tick { return fakeNow },
		Neighbours: fakeNeighbours{f}, Health: fakeHealth{f}, Guard: f, Filter: f,
		ClientMAC: fakeMAC, ServerMAC: frame.MAC{2, 0, 0, 0, 0, 2}, Active: role,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- f.control.Run(ctx) }()
	go func() { done <- control.Serve(ctx, socket, f.control.Handler(), log) }()
	f.stop = func() error {
		cancel()
		return errors.Join(<-done, <-done, table.Close(true))
	}
	return f, nil
}

// set changes what the director is told, and tells it that something changed.
func (f *fake) set(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	f.changes <- struct{}{}
}

type fakeNeighbours struct{ *fake }

func (fakeNeighbours) SetVIPs([]netip.Addr, [6]byte, bool) {}
func (fakeNeighbours) SetTargets([]netip.Addr)             {}
func (f fakeNeighbours) Changes() <-chan struct{}          { return f.changes }
func (fakeNeighbours) Status() neigh.Status                { return neigh.Status{} }
func (f fakeNeighbours) Lookup(a netip.Addr) ([6]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	raw := a.As16()
	return [6]byte{2, 0, 0, 0, 1, raw[15]}, !f.lost[a]
}

type fakeHealth struct{ *fake }

func (fakeHealth) Set([]health.Target)      {}
func (fakeHealth) Changes() <-chan struct{} { return nil }
func (f fakeHealth) Up(key string) (up, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.down[key], true
}
func (f fakeHealth) Status() (all []health.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.down {
		all = append(all, health.Status{Key: key, LastResult: "connection refused"})
	}
	return all
}

func (*fake) Apply(guard.State) error          { return nil }
func (*fake) Undo() error                      { return nil }
func (*fake) Relearn(int, ...netip.Addr) error { return nil }
func (*fake) SetFilter(pktio.Filter) error     { return nil }

// send passes one TCP segment through the core; false: it was dropped.
func (f *fake) send(src, dst netip.AddrPort, flags byte) bool {
	b := make([]byte, pktio.HeaderLen+54)
	eth := b[pktio.HeaderLen:]
	copy(eth, fakeMAC[:])
	eth[6], eth[12] = 2, 8
	ip := eth[14:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 40, 64, 6
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	tcp := ip[20:]
	tcp[0], tcp[1], tcp[2], tcp[3] = byte(src.Port()>>8), byte(src.Port()), byte(dst.Port()>>8), byte(dst.Port())
	tcp[12], tcp[13] = 0x50, flags
	var rx, servers, clients pktio.Batch
	rx.Add(&pktio.Frame{Buf: b})
	f.core.Process(&rx, &servers, &clients, f.snap.Load(), fakeNow)
	return servers.N == 1
}
