// Package provision brings a replaced or late machine to the configuration that the
// farm has, without the station. The director's side, Server, gives known real
// servers their address (DHCP) and their signed part of the confirmed generation
// (HTTP), and the other director the whole bundle. The machines' side, Agent on a real
// server and CatchUp on a director, asks, verifies with the pinned station key and
// hands over to the machine's store.
//
// Nobody is believed for what they say: addresses come from the cluster file, and
// everything fetched carries the station's signature. What is promised, and what
// isn't, is in docs/provision.md.
package provision

import (
	"context"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// Store is the part of machine.Store that is used here. Methods are called from
// several goroutines.
type Store interface {
	State(ctx context.Context) (machine.State, error)
	Current() (*render.Manifest, *machine.Proof, error)
	Stage(ctx context.Context, c *render.Config, p machine.Proof) error
	Switch(ctx context.Context, generation uint64) error
	Confirm(ctx context.Context, generation uint64) error
	Rollback(ctx context.Context, generation uint64) error
}

var _ Store = (*machine.Store)(nil)
