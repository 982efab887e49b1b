// Package pktio says what a packet backend is: how frames come in and go out in
// batches without being copied. Backends live in the folders below; package
// pktiotest holds the conformance suite that each of them passes.
//
// A frame on its way is one contiguous piece of memory:
//
//	| virtio header, HeaderLen bytes | Ethernet header | payload ... |
//
// so that one iovec sends both. The virtio header (struct virtio_net_hdr)
// carries partial checksums and GSO super-frames through unharmed; a backend
// without offloads leaves it zero.
package pktio

import "errors"

// HeaderLen is the length in bytes of the virtio header before each frame.
const HeaderLen = 10

// BatchSize is the largest number of frames that one Recv returns.
const BatchSize = 64

var (
	// ErrClosed is returned by Recv and Send after Close.
	ErrClosed = errors.New("pktio: closed")
	// ErrDown is returned by Recv once each time the device goes down. The
	// receiver stays usable; frames come again when the device is up again.
	ErrDown = errors.New("pktio: the device is down")
	// ErrGone is returned by Recv once, perhaps after ErrDown, and by each Send
	// when the device was removed. It does not come back: open anew.
	ErrGone = errors.New("pktio: the device was removed")
)

// Frame is one frame inside a Batch.
type Frame struct {
	// Buf is the virtio header followed by the Ethernet frame. It aliases the
	// backend's memory from Recv until Release; the holder may change bytes in
	// place, never the length.
	Buf []byte
	// Tagged says that the device took a VLAN tag off before handing the frame
	// over; Buf then looks untagged. TCI is that tag's control information.
	Tagged bool
	TCI    uint16
	// Token belongs to the backend that filled the frame in.
	Token uint32
}

// Eth returns the Ethernet frame without the virtio header.
func (f *Frame) Eth() []byte { return f.Buf[HeaderLen:] }

// Batch is up to BatchSize frames. The owner makes it once and hands it to
// every call; the backend fills Frames[:N].
type Batch struct {
	Frames [BatchSize]Frame
	N      int
}

// Add appends a frame without copying what it points to. The caller sees to it
// that the batch is not full.
func (b *Batch) Add(f *Frame) {
	b.Frames[b.N] = *f
	b.N++
}

// Receiver is where one worker gets its frames. Only Interrupt and Stats may be
// called from another goroutine than the one that calls Recv.
type Receiver interface {
	// Recv waits until at least one frame is there, Interrupt was called, or
	// about wait milliseconds have passed (0: only look, negative: for ever), and
	// fills rx. rx.N 0 with a nil error means nothing came. With an error rx.N is
	// 0 too. It allocates nothing. The batch before must have been released.
	Recv(rx *Batch, wait int) error
	// Release gives the memory of all frames of the last Recv back.
	Release(rx *Batch)
	// Interrupt makes the current or next Recv return at once.
	Interrupt()
	// Stats reads the counters; never goes backwards.
	Stats() RxStats
	// Close frees everything. Only after the reading goroutine has stopped.
	Close() error
}

// Sender is where one worker puts its frames. One goroutine at a time, except
// for Stats.
type Sender interface {
	// Send hands all frames of tx to the device, in order, and does not keep
	// them. A frame that the device does not take is counted and skipped, the
	// ones after it are still sent. The error is for a dead sender only. It
	// allocates nothing.
	Send(tx *Batch) error
	Stats() TxStats
	Close() error
}

// RxStats counts what a receiver saw and what it lost, since it was opened.
type RxStats struct {
	Packets   uint64 // frames handed out by Recv
	Bytes     uint64 // their length, virtio header not counted
	Dropped   uint64 // frames that the kernel lost because the ring was full
	Truncated uint64 // frames longer than a slot that could not be fetched whole
	Long      uint64 // frames longer than a slot that were fetched whole
}

// TxStats counts what a sender sent and what was not taken, since it was opened.
type TxStats struct {
	Packets uint64 // frames taken by the device
	Bytes   uint64
	Busy    uint64 // frames lost because the device's queue was full
	TooLong uint64 // frames lost because they exceed the device's MTU
	Errors  uint64 // frames lost for any other reason
}
