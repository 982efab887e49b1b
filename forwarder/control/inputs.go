// Package control joins the parts of a director: from the cluster file, the
// servers' health, their MAC addresses and the director's role it makes the
// Snapshot that the workers read, and tells the neighbours, the guard, the health
// monitor and the packet filter what that takes. It also holds the runtime API.
package control

import (
	"net/netip"

	"github.com/svm-cluster/svm/forwarder/guard"
	"github.com/svm-cluster/svm/forwarder/health"
	"github.com/svm-cluster/svm/forwarder/neigh"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// Neighbours is what control needs of neigh.Agent.
type Neighbours interface {
	SetVIPs(vips []netip.Addr, mac [6]byte, active bool)
	SetTargets([]netip.Addr)
	Lookup(netip.Addr) (mac [6]byte, ok bool)
	Changes() <-chan struct{}
	Status() neigh.Status
}

// Health is what control needs of health.Monitor.
type Health interface {
	Set([]health.Target)
	Up(key string) (up, known bool)
	Changes() <-chan struct{}
	Status() []health.Status
}

// Guard is what control needs of guard.Guard.
type Guard interface {
	Apply(guard.State) error
	Undo() error
	Relearn(index int, addrs ...netip.Addr) error
}

// Filter tells the packet backends which frames to receive.
type Filter interface {
	SetFilter(pktio.Filter) error
}
