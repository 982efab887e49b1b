package sched

import (
	"fmt"

	"github.com/dchest/siphash"
)

// defaultTable is the size of an mh table unless the Config says otherwise.
const defaultTable = 65537

// maxTable bounds the memory of one table at 32 MB.
const maxTable = 1 << 24

// turn is one server while a table is filled.
type turn struct {
	at, skip uint32 // the permutation: at, at+skip, at+2*skip ... modulo the size
	quota    uint32 // entries in the end
	due      uint32 // what it is owed so far, in entries times rounds
	index    uint16
}

// maglevTable fills a lookup table of a prime number of entries as in section 3.4
// of the Maglev paper (Eisenbud et al., NSDI 2016): every server has its own
// pseudo-random permutation of the entries, by SipHash of its ID, and in turns
// each takes the next entry of its permutation that is still free. order are the
// backends by ID, so that equal IDs and weights give an equal table anywhere.
//
// Weights set how many entries a server gets, to within one entry: in each round
// it takes turns until it has its quota's share of the rounds gone by. IPVS
// instead gives it a whole number of turns in a row, from weights shifted down to
// six bits. The table is nil if no backend has a weight.
func maglevTable(backends []Backend, order []int, key [16]byte, size int) ([]uint16, error) {
	if size > maxTable || !prime(size) {
		return nil, fmt.Errorf("sched mh: table size %d: want a prime up to %d, for instance %d", size, maxTable, defaultTable)
	}
	turns := quotas(backends, order, size)
	if len(turns) > size {
		return nil, fmt.Errorf("sched mh: table size %d is less than %d backends: take a larger prime, %d by default", size, len(turns), defaultTable)
	}
	if len(turns) == 0 {
		return nil, nil
	}
	k0, k1 := halves(key)
	for i := range turns {
		t := &turns[i]
		h1, h2 := siphash.Hash128(k0, k1, []byte(backends[t.index].ID))
		t.at = uint32(h1 % uint64(size))
		t.skip = uint32(h2%uint64(size-1)) + 1
	}
	return fill(turns, uint32(size)), nil
}

// fill deals the entries out. What is taken is kept in a bitmap besides: it is
// small enough to stay in the first-level cache, where nearly all looks end. The
// last few entries would cost more looks than all before them, so they are not
// looked for but computed.
func fill(turns []turn, size uint32) []uint16 {
	table := make([]uint16, size)
	taken := make([]uint64, size/64+1)
	left := size
	var free []uint32 // once there are few
	rounds := size / uint32(len(turns))
	for range rounds {
		for i := range turns {
			t := &turns[i]
			for t.due += t.quota; t.due >= rounds; t.due -= rounds {
				if left > lastFew {
					t.at = nextFree(taken, t.at, t.skip, size)
				} else {
					if free == nil {
						free = allFree(taken, size)
					}
					at := nearestFree(free, t.at, t.skip, size)
					t.at = free[at]
					free[at] = free[len(free)-1]
					free = free[:len(free)-1]
				}
				taken[t.at/64] |= 1 << (t.at % 64)
				table[t.at] = t.index
				left--
			}
		}
	}
	return table
}

// lastFew is where computing becomes cheaper than looking.
const lastFew = 128

// nextFree looks along a permutation, from at on. The sign of the sum stands in
// for a branch that no processor could foresee.
func nextFree(taken []uint64, at, skip, size uint32) uint32 {
	for taken[at/64]&(1<<(at%64)) != 0 {
		over := at + skip - size
		at = over + size&uint32(int32(over)>>31)
	}
	return at
}

// nearestFree returns the index in free of the entry that nextFree would come to.
// Entry f is (f-at)/skip steps away, modulo the size, which is prime: so there is
// an inverse of skip, its power of size-2.
func nearestFree(free []uint32, at, skip, size uint32) int {
	m := uint64(size)
	inverse := uint64(1)
	for base, e := uint64(skip), size-2; e > 0; e >>= 1 {
		if e&1 != 0 {
			inverse = inverse * base % m
		}
		base = base * base % m
	}
	best, least := 0, m
	for i, f := range free {
		if steps := (uint64(f) + m - uint64(at)) * inverse % m; steps < least {
			best, least = i, steps
		}
	}
	return best
}

func allFree(taken []uint64, size uint32) []uint32 {
	free := make([]uint32, 0, lastFew)
	for at := range size {
		if taken[at/64]&(1<<(at%64)) == 0 {
			free = append(free, at)
		}
	}
	return free
}

// quotas shares the entries out by weight: the running sums of the exact shares,
// rounded down, so that they add up to size. No server of weight gets none, even
// if its exact share is less than one entry.
func quotas(backends []Backend, order []int, size int) []turn {
	var turns []turn
	var total, sum uint64
	for _, i := range order {
		if w := uint64(backends[i].Weight); w > 0 {
			total += w
			turns = append(turns, turn{index: uint16(i)})
		}
	}
	if len(turns) > size {
		return turns
	}
	given, largest := uint64(0), 0
	for j := range turns {
		t := &turns[j]
		sum += uint64(backends[t.index].Weight)
		upTo := sum * uint64(size) / total
		t.quota = uint32(upTo - given)
		given = upTo
		if t.quota > turns[largest].quota {
			largest = j
		}
	}
	for j := range turns {
		if turns[j].quota > 0 {
			continue
		}
		for turns[largest].quota < 2 { // there is one of 2: the sum is at least one each
			largest = (largest + 1) % len(turns)
		}
		turns[largest].quota--
		turns[j].quota++
	}
	return turns
}

func prime(n int) bool {
	if n < 3 || n%2 == 0 {
		return false
	}
	for d := 3; d*d <= n; d += 2 {
		if n%d == 0 {
			return false
		}
	}
	return true
}
