package forwarder

import (
	"net/netip"
	"sync/atomic"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/sched"
)

// Snapshot is everything a worker must know to decide about a packet. It is
// immutable from the moment it is published; only what it points to in Load,
// Stats and scheduler cursors moves, atomically.
type Snapshot struct {
	Active    bool      // false: the backup, which forwards and answers nothing
	ClientMAC frame.MAC // source address of the replies that the director makes
	VIPs      map[netip.Addr]*VIP
	Backends  []*Backend // by index; nil where none is
	Timeouts  Timeouts
	// Learning: until LearnsUntil the other director's word about its youngest
	// connections may still come. A segment in mid-connection of an unknown one is
	// dropped: it comes again, and picking another server for it would break it.
	Learning    bool
	LearnsUntil flow.Tick
}

func (s *Snapshot) learns(now flow.Tick) bool { return s.Learning && now.Until(s.LearnsUntil) > 0 }

// VIP is one address and the services on it.
type VIP struct{ Services []*Service }

// PortRange is First to Last, both included, host order.
type PortRange struct{ First, Last uint16 }

// Service is one virtual service.
type Service struct {
	Name      string
	VIP       netip.Addr
	Proto     uint8
	Ports     []PortRange // sorted
	OnePacket bool
	// Persistence in milliseconds, 0 for none, and the mask of the client network.
	Persistence    uint32
	MaskHi, MaskLo uint64
	// Backends are those that may get new connections. Scheduler picks by index.
	Backends  []*Backend
	Scheduler sched.Scheduler
	// Hashed are those that a connection may be on that is not in the table, by
	// index for Stateless: the scheduler itself where it is a hash, else a consistent
	// hash. They include servers that just aren't known yet, so that a director finds
	// the same ones from its first packet on; both directors find the same.
	Hashed    []*Backend
	Stateless sched.Scheduler
}

// Backend is one real server inside one service.
type Backend struct {
	Ref     uint32 // see MakeRef
	Service *Service
	Name    string
	Addr    netip.Addr
	// Addresses go onto every frame for this backend. Valid only if Resolved.
	Addresses frame.Addresses
	Resolved  bool
	// Accepting: it may get new connections, weight and load permitting.
	Accepting bool
	// Cut: its connections are given up; their next packet is scheduled afresh.
	Cut   bool
	Load  *sched.Load
	Stats *Stats
}

// A backend reference is what the table stores: the backend's index in the
// Snapshot and a generation that tells successive users of an index apart.
const (
	indexBits = 20
	// MaxBackends is the largest number of backends at a time.
	MaxBackends = 1 << indexBits
)

// MakeRef joins an index below MaxBackends and a generation (12 bits count).
func MakeRef(index, generation int) uint32 {
	return uint32(index)&(MaxBackends-1) | uint32(generation)<<indexBits
}

// RefIndex returns a reference's index.
func RefIndex(ref uint32) int { return int(ref & (MaxBackends - 1)) }

// Backend returns the backend that a reference means, nil when it is gone.
func (s *Snapshot) Backend(ref uint32) *Backend {
	if i := RefIndex(ref); i < len(s.Backends) {
		if b := s.Backends[i]; b != nil && b.Ref == ref {
			return b
		}
	}
	return nil
}

// Service returns the service that takes protocol and port.
func (v *VIP) Service(proto uint8, port uint16) *Service {
	for _, s := range v.Services {
		if s.Proto != proto {
			continue
		}
		for _, r := range s.Ports {
			if r.First <= port && port <= r.Last {
				return s
			}
		}
	}
	return nil
}

// Stats counts one backend's traffic. It outlives Snapshots; workers add to it a
// few times a second.
type Stats struct{ Connections, Packets, Bytes atomic.Uint64 }

// Timeouts says how long an idle entry lives. An entry's deadline is written
// anew only when it is more than a slack behind, so that busy connections do not
// write to the table: entries live between the timeout and timeout plus slack,
// which is an eighth of the timeout and at most a second.
type Timeouts struct{ idle, lease flow.Timeouts }

// MakeTimeouts prepares timeouts given in milliseconds.
func MakeTimeouts(idle flow.Timeouts) Timeouts {
	t := Timeouts{idle: idle}
	for s, ms := range idle {
		t.lease[s] = ms + min(ms/8, 1000)
	}
	return t
}

// Idle returns the timeouts in milliseconds.
func (t *Timeouts) Idle() flow.Timeouts { return t.idle }
