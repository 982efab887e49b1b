package afpacket

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// minBlock is the least memory that the kernel allocates in one piece for a
// ring, in bytes: a few pages, so that it finds them on a fragmented host too.
const minBlock = 16 << 10

// ring is the memory of a TPACKET_V2 receive ring: slots of equal size, each
// beginning with a tpacket2_hdr. Sizes are powers of two, so the slots lie side
// by side without gaps between blocks.
type ring struct {
	mem      []byte
	slots    uint32
	slotSize uint32
}

// mapRing sets the ring of fd up and maps it.
func mapRing(fd int, slots, slotSize uint32) (ring, error) {
	block := max(slotSize, minBlock)
	req := unix.TpacketReq{
		Block_size: block,
		Block_nr:   slots * slotSize / block,
		Frame_size: slotSize,
		Frame_nr:   slots,
	}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return ring{}, fmt.Errorf("PACKET_RX_RING of %d slots of %d bytes: %w (use fewer or smaller slots)", slots, slotSize, err)
	}
	mem, err := unix.Mmap(fd, 0, int(slots)*int(slotSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return ring{}, fmt.Errorf("mmap of the ring: %w", err)
	}
	return ring{mem: mem, slots: slots, slotSize: slotSize}, nil
}

func (r *ring) unmap() error {
	if r.mem == nil {
		return nil
	}
	err := unix.Munmap(r.mem)
	r.mem = nil
	return err
}

// slot returns the memory of the slot that the running count n falls on.
func (r *ring) slot(n uint32) []byte {
	off := int(n&(r.slots-1)) * int(r.slotSize)
	return r.mem[off : off+int(r.slotSize) : off+int(r.slotSize)]
}

// status reads the status of slot n; what the kernel wrote into the slot before
// is visible after it.
func (r *ring) status(n uint32) uint32 {
	return atomic.LoadUint32(&header(r.slot(n)).Status)
}

// free hands slot n back; reads of the slot before it are done by then.
func (r *ring) free(n uint32) {
	atomic.StoreUint32(&header(r.slot(n)).Status, unix.TP_STATUS_KERNEL)
}

func header(slot []byte) *unix.Tpacket2Hdr {
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
}
