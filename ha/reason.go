package ha

import (
	"fmt"
	"sync/atomic"
)

// Reason says what became of a received packet: taken (OK, Hello), or why it was
// refused. A refused packet changes no state.
type Reason uint8

const (
	OK              Reason = iota // an advertisement, handed to the machine
	Hello                         // a backup's authenticated sign of life
	Truncated                     // shorter than its header or address list says
	TrailingBytes                 // longer than that, without a key
	BadVersion                    // not VRRPv3
	BadType                       // not an advertisement
	BadChecksum                   // none of the accepted checksum forms fits
	BadTTL                        // TTL or hop limit is not 255: it crossed a router
	BadCount                      // no address in the list
	BadInterval                   // the interval is 0
	WrongVRID                     // another virtual router on the same wire
	WrongPeer                     // unicast is configured, and the sender is no peer of ours
	WrongDest                     // addressed neither to the group nor to us
	OwnPacket                     // our own, back from the wire
	Unauthenticated               // a key is set, and the packet carries no seal
	BadSeal                       // sealed with another key, or altered
	Replayed                      // a sequence number that was taken before, or is too old
	Unproven                      // sealed well, but nothing shows yet that it is not an old recording
	TooManyPeers                  // sealed well, but all places for peers are taken
	reasons
)

var reasonNames = [reasons]string{
	"ok", "hello", "truncated", "trailing-bytes", "bad-version", "bad-type", "bad-checksum", "bad-ttl", "bad-count",
	"bad-interval", "wrong-vrid", "wrong-peer", "wrong-destination", "own-packet", "unauthenticated", "bad-seal",
	"replayed", "unproven", "too-many-peers",
}

// String returns the name under which the reason is counted.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// Counters counts packets by reason. It may be used by many goroutines at once.
type Counters [reasons]atomic.Uint64

// Add counts one packet.
func (c *Counters) Add(r Reason) { c[r].Add(1) }

// Snapshot returns all counts that are not 0, by name.
func (c *Counters) Snapshot() map[string]uint64 {
	m := make(map[string]uint64)
	for i := range c {
		if n := c[i].Load(); n > 0 {
			m[Reason(i).String()] = n
		}
	}
	return m
}
