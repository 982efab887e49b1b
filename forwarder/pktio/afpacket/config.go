package afpacket

import (
	"fmt"
	"math/bits"
	"net"
)

// Defaults of Config; see the package comment for the measurement.
const (
	DefaultSlots       = 4096
	DefaultSlotSize    = 2048
	DefaultQueueBytes  = 16 << 20
	DefaultLongBuffers = 32
	DefaultLongSize    = 66 << 10
)

// Config describes the receive sockets of one device.
type Config struct {
	// Device is the interface's name in the network namespace of the calling
	// thread.
	Device string
	// Slots is the number of frames that one ring holds, rounded up to a power
	// of two. Default DefaultSlots.
	Slots int
	// SlotSize is the number of bytes of one slot, rounded up to a power of two,
	// at least 256. About 80 of them are headers. Longer frames take the slower
	// way through the socket's queue. Default DefaultSlotSize.
	SlotSize int
	// QueueBytes bounds the memory of the frames that wait in the socket's queue
	// because they are longer than a slot. Without CAP_NET_ADMIN on the host it
	// is capped at twice net.core.rmem_max. Default DefaultQueueBytes.
	QueueBytes int
	// LongBuffers is how many such frames one Recv fetches at most, and LongSize
	// the longest that arrives whole, in bytes with its virtio header. Defaults
	// DefaultLongBuffers, DefaultLongSize.
	LongBuffers int
	LongSize    int
}

func (c *Config) setDefaults() error {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Slots, DefaultSlots)
	def(&c.SlotSize, DefaultSlotSize)
	def(&c.QueueBytes, DefaultQueueBytes)
	def(&c.LongBuffers, DefaultLongBuffers)
	def(&c.LongSize, DefaultLongSize)
	c.Slots, c.SlotSize = powerOfTwo(c.Slots), powerOfTwo(c.SlotSize)
	switch {
	case c.Slots < 2 || c.Slots > 1<<20:
		return fmt.Errorf("%d slots: want 2 to %d", c.Slots, 1<<20)
	case c.SlotSize < 256 || c.SlotSize > 1<<17:
		return fmt.Errorf("slots of %d bytes: want 256 to %d", c.SlotSize, 1<<17)
	case c.Slots*c.SlotSize < minBlock || c.Slots*c.SlotSize > 1<<30:
		return fmt.Errorf("a ring of %d bytes: want %d to %d", c.Slots*c.SlotSize, minBlock, 1<<30)
	case c.QueueBytes < 0 || c.QueueBytes > 1<<30:
		return fmt.Errorf("queue of %d bytes: want at most %d", c.QueueBytes, 1<<30)
	case c.LongBuffers < 1 || c.LongSize < c.SlotSize:
		return fmt.Errorf("%d buffers of %d bytes for long frames: want at least one, of at least a slot's size", c.LongBuffers, c.LongSize)
	}
	return nil
}

func powerOfTwo(n int) int {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}

// index finds the device of that name where the calling thread is.
func index(device string) (int, error) {
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return 0, fmt.Errorf("afpacket: device %q: %w (see ip link)", device, err)
	}
	return ifi.Index, nil
}
