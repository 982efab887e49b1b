// Package afpacket is the packet backend on Linux packet sockets: a
// memory-mapped TPACKET_V2 ring to receive, sendmmsg straight out of that ring to
// send. The virtio header travels with each frame in both directions, so partial
// checksums and GSO super-frames pass through as they came.
//
// # Why TPACKET_V2
//
// Version 3 hands over blocks of frames, when they are full or after a timeout of
// at least a millisecond; version 2 hands over each frame when it comes. Measured
// by the benchmarks of this package between two namespaces on a machine with two
// CPUs that others used too (Linux 6.18, veth, 60-byte frames), so that only
// figures far apart mean something:
//
//	one frame in flight, median round trip   V2 13 µs, plain socket 13 µs, V3 1000 µs
//	receiving only, best runs                V2 310 000/s, V3 360 000/s
//	MAC rewrite and sendmmsg, one worker     V2 295 000/s (V2 370 000, V3 375 000
//	                                         in earlier runs on a quiet machine)
//
// Version 3 spares wake-ups when frames are only counted; once they are sent on,
// which costs much more, nothing is left of that.
//
// # Why 4096 slots of 2 KiB
//
// Under a flood rings of 512 and 1024 slots lost frames whenever the reader was
// not scheduled for some milliseconds; 2048 and 4096 slots did not differ in
// speed, and 16384 won nothing. 4096 slots are 8 MiB a ring and hold a burst of
// about 10 ms at full rate. A slot of 2 KiB takes every frame of a 1500-byte MTU.
//
// Super-frames and jumbo frames are longer than a slot. The kernel queues them on
// the socket and Recv fetches them, one system call each: a TCP upload through a
// reflector ran as fast so (0.4 to 0.9 GB/s) as with 128 KiB slots that need no
// fetching. What the queue may hold is Config.QueueBytes; a process without
// CAP_NET_ADMIN on the host gets at most twice net.core.rmem_max. With the usual
// 212 992 bytes some super-frames were lost, counted under Truncated, and the
// upload took a few percent longer.
//
// # Traps
//
// With PACKET_QDISC_BYPASS the kernel drops a super-frame that the device cannot
// cut into segments itself (segmentation offload off, or beyond its limit). The
// Sender notices the first one and sends super-frames through the queueing
// discipline from then on. Super-frames and other frames of one connection may
// then overtake each other in the queueing discipline.
//
// A fanout group has a hook of its own, so PACKET_IGNORE_OUTGOING of its members
// means nothing to it; the group is told by PACKET_FANOUT_FLAG_IGNORE_OUTGOING.
// Reassembly (PACKET_FANOUT_FLAG_DEFRAG) stays off: fragments leave as they came.
package afpacket
