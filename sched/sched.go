// Package sched decides which backend a new connection gets. It holds all of
// IPVS's schedulers under their own names, one file each. A scheduler knows
// backends (identity, weight, load) and a flow's addresses; it knows no packets.
//
// Schedulers are immutable but for small atomic cursors: a change of the
// backends makes a new Scheduler. Pick may be called by any number of workers
// at once, takes no lock and, unless a scheduler's own comment says otherwise,
// allocates nothing.
package sched

import "net/netip"

// None is what Pick and Peek return when no backend may have the connection.
const None = -1

// Flow is what a scheduler may know of a new connection. Addresses are plain
// (never IPv4-mapped) and without zone; ports are in host order, 0 when the
// pick must not depend on them.
type Flow struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
}

// Backend is one real server inside one virtual service, as schedulers see it.
type Backend struct {
	// ID names the backend the same way on both directors (its address). The
	// hashing schedulers build their tables from it, so order does not matter.
	ID string
	// Weight is the configured share; 0 means quiesced: never picked.
	Weight int
	// Load is shared by everyone who counts this backend's connections and
	// outlives a reload. Never nil.
	Load *Load
}

// Scheduler picks backends for one virtual service.
type Scheduler interface {
	// Pick chooses a backend for a new connection and returns its index in the
	// slice given to New, or None. It moves the scheduler's cursor, if any.
	Pick(f *Flow) int
	// Peek returns what Pick would return now, and changes nothing.
	Peek(f *Flow) int
}
