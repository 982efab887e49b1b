package pktio

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
)

// MaxInstructions is the longest classic BPF program that the kernel takes.
const MaxInstructions = 4096

const (
	// acceptBytes is what a passing frame may have at most: more than any
	// super-frame, so nothing is ever cut.
	acceptBytes = 0x7fffffff

	// leafWords is the number of words below which comparing one after the
	// other is shorter than another level of the search tree.
	leafWords = 4
)

// Assemble compiles the filter into a classic BPF program over Ethernet frames.
// Addresses are found by binary search, word by word, so a frame for another
// host costs about ten instructions however many addresses there are. It fails
// for an invalid address and when the program would exceed MaxInstructions,
// so about 2 000 IPv4 or 300 unrelated IPv6 addresses fit.
func (f Filter) Assemble() ([]bpf.RawInstruction, error) {
	prog, err := f.program()
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("pktio: filter: %w", err)
	}
	return raw, nil
}

func (f Filter) program() ([]bpf.Instruction, error) {
	v4, v6, err := f.keys()
	if err != nil {
		return nil, err
	}
	if len(f.MACs) == 0 || len(v4)+len(v6) == 0 {
		return []bpf.Instruction{bpf.RetConstant{}}, nil
	}

	var macs [][]uint32
	for _, m := range f.MACs {
		macs = append(macs, []uint32{binary.BigEndian.Uint32(m[:]), uint32(binary.BigEndian.Uint16(m[4:]))})
	}
	prog := search(sorted(macs), []bpf.LoadAbsolute{{Off: 0, Size: 4}, {Off: 4, Size: 2}}, bpf.Jump{})
	// A matched MAC goes on behind the search; only now is it known where that
	// is. The search itself jumps over at least one instruction.
	for i := range prog {
		if prog[i] == (bpf.Jump{}) {
			prog[i] = bpf.Jump{Skip: uint32(len(prog) - i - 1)}
		}
	}

	accept := bpf.RetConstant{Val: acceptBytes}
	prog = append(prog, bpf.LoadAbsolute{Off: offEtherType, Size: 2})
	if len(v4) > 0 {
		tree := search(v4, []bpf.LoadAbsolute{{Off: offDst4, Size: 4}}, accept)
		prog = append(prog,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherTypeIPv4, SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(tree))})
		prog = append(prog, tree...)
	}
	if len(v6) > 0 {
		prog = append(prog,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherTypeIPv6, SkipTrue: 1},
			bpf.RetConstant{})
		prog = append(prog, search(v6, []bpf.LoadAbsolute{
			{Off: offDst6, Size: 4}, {Off: offDst6 + 4, Size: 4},
			{Off: offDst6 + 8, Size: 4}, {Off: offDst6 + 12, Size: 4},
		}, accept)...)
	}
	prog = append(prog, bpf.RetConstant{})
	if len(prog) > MaxInstructions {
		return nil, fmt.Errorf("pktio: filter: %d addresses need %d instructions, the kernel takes %d: use fewer virtual addresses per director",
			len(f.Addrs), len(prog), MaxInstructions)
	}
	return prog, nil
}

// keys returns the addresses as sorted lists of big-endian words.
func (f Filter) keys() (v4, v6 [][]uint32, err error) {
	for _, a := range f.Addrs {
		a = a.Unmap()
		switch {
		case !a.IsValid():
			return nil, nil, fmt.Errorf("pktio: filter: invalid address among %v: give IPv4 or IPv6 addresses", f.Addrs)
		case a.Is4():
			b := a.As4()
			v4 = append(v4, []uint32{binary.BigEndian.Uint32(b[:])})
		default:
			b := a.As16()
			var w []uint32
			for i := 0; i < 16; i += 4 {
				w = append(w, binary.BigEndian.Uint32(b[i:]))
			}
			v6 = append(v6, w)
		}
	}
	return sorted(v4), sorted(v6), nil
}

func sorted(keys [][]uint32) [][]uint32 {
	slices.SortFunc(keys, slices.Compare)
	return slices.CompactFunc(keys, slices.Equal)
}
