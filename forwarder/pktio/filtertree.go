package pktio

import "golang.org/x/net/bpf"

// search compiles the search for one of keys: sorted, distinct, each with one
// word per load. It runs found when one matches and rejects otherwise; control
// never leaves it at its end.
func search(keys [][]uint32, loads []bpf.LoadAbsolute, found bpf.Instruction) []bpf.Instruction {
	prog := []bpf.Instruction{loads[0]}
	return append(prog, branch(keys, loads, 0, found)...)
}

// branch compiles the search among keys that agree in all words before depth;
// the word at depth stands in the accumulator.
func branch(keys [][]uint32, loads []bpf.LoadAbsolute, depth int, found bpf.Instruction) []bpf.Instruction {
	last := depth == len(loads)-1
	first, median := keys[0][depth], keys[len(keys)/2][depth]

	if last && len(keys) <= leafWords {
		var leaf []bpf.Instruction
		for i, k := range keys {
			// Behind the comparisons stand the reject and then found.
			leaf = append(leaf, bpf.JumpIf{Cond: bpf.JumpEqual, Val: k[depth], SkipTrue: uint8(len(keys) - i)})
		}
		return append(leaf, bpf.RetConstant{}, found)
	}
	if first == keys[len(keys)-1][depth] {
		same := []bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: first, SkipTrue: 1},
			bpf.RetConstant{},
			loads[depth+1],
		}
		return append(same, branch(keys, loads, depth+1, found)...)
	}

	// Split between two different values, as near to the middle as there is one.
	cut := len(keys) / 2
	for cut > 0 && keys[cut-1][depth] == median {
		cut--
	}
	if cut == 0 {
		for keys[cut][depth] == median {
			cut++
		}
	}
	low := branch(keys[:cut], loads, depth, found)
	high := branch(keys[cut:], loads, depth, found)
	// A conditional jump reaches 255 instructions only.
	split := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: keys[cut][depth], SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(low))},
	}
	if len(low) <= 255 {
		split = []bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: keys[cut][depth], SkipTrue: uint8(len(low))},
		}
	}
	split = append(split, low...)
	return append(split, high...)
}
