package neigh

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
)

// snap is how much of a frame a socket hands over, in bytes: an NDP message with
// many options still fits.
const snap = 2048

const otherHost = 3 // PACKET_OTHERHOST of packet(7)

// filterARP and filterNDP let only untagged ARP, or untagged ICMPv6 neighbour
// solicitations and advertisements, into a socket. Malformed ones pass: they are
// counted by decode. mac is the device's own address.
func filterARP(mac [6]byte) ([]bpf.RawInstruction, error) {
	return filter(mac, []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherARP, SkipTrue: drop},
	})
}

func filterNDP(mac [6]byte) ([]bpf.RawInstruction, error) {
	return filter(mac, []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv6, SkipTrue: drop},
		bpf.LoadAbsolute{Off: etherLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 58, SkipTrue: drop},
		bpf.LoadAbsolute{Off: etherLen + ip6Len, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpSolicit, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpAdvert, SkipTrue: drop},
	})
}

const drop = 255 // stands for the way to the last instruction

// filter puts before a body what keeps tagged frames out. By the time that a socket
// bound to one protocol sees a frame, the kernel has taken the tag off; for a VLAN
// that has no device here it has called the frame another host's instead. A frame
// for everyone, or for this device's own address, that is another host's was tagged.
// (A virtual MAC address is another host's too: those frames must pass.)
func filter(mac [6]byte, body []bpf.Instruction) ([]bpf.RawInstruction, error) {
	p := append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: drop},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: otherHost, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipTrue: drop},
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mac[:4]), SkipTrue: 2},
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipTrue: drop},
	}, body...)
	p = append(p, bpf.RetConstant{Val: snap}, bpf.RetConstant{Val: 0})
	for i := range p {
		if j, ok := p[i].(bpf.JumpIf); ok && j.SkipTrue == drop {
			j.SkipTrue = uint8(len(p) - 2 - i)
			p[i] = j
		}
	}
	raw, err := bpf.Assemble(p)
	if err != nil {
		return nil, fmt.Errorf("neigh: packet filter: %w", err)
	}
	return raw, nil
}
