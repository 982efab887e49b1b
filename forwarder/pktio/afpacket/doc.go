// Package afpacket is the packet backend on Linux packet sockets: a
// memory-mapped TPACKET_V2 ring to receive, sendmmsg straight out of that ring to
// send. The virtio header travels with each frame in both directions, so partial
// checksums and GSO super-frames pass through as they came.
package afpacket
