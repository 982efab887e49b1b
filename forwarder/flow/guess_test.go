package flow

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// Guess is worth its name: of a full table's keys it finds nearly all at once,
// those in their second pair of buckets too. More than one key in thirty wrong
// would be a fault; chance alone, with a new seed each time, gives one in fifty.
func TestGuessFindsNearlyAll(t *testing.T) {
	const n = 100_000
	table := newTable(t, n, 100)
	keys := map[frame.Key]bool{}
	for i := range n {
		k := testKey(i)
		if _, r := table.Insert(&k, table.Hash(&k), MakeMeta(Established, 1), 1000, 0, &ledger{}); r == Inserted {
			keys[k] = true
		}
	}
	if len(keys) < n*999/1000 {
		t.Fatalf("only %d of %d keys went in", len(keys), n)
	}
	var packets []frame.Packet
	var hashes []uint64
	look := func() (found int) {
		slots, seen := make([]uint32, len(hashes)), make([]Seen, len(hashes))
		table.Guess(hashes, slots)
		table.Peek(packets, slots, seen)
		for i := range packets {
			k := &packets[i].Key
			e, ok := table.Lookup(k, hashes[i])
			if hit := seen[i].Meta != 0; hit && keys[*k] != ok || hit && ok && (e.Slot != slots[i] || e.Meta != seen[i].Meta) {
				t.Fatalf("key %v: seen %v in slot %d, found %v %v", *k, seen[i], slots[i], e, ok)
			} else if hit && table.Still(slots[i], seen[i].Meta) {
				found++
			}
		}
		packets, hashes = packets[:0], hashes[:0]
		return found
	}
	found, third := 0, 0
	for k := range keys {
		packets = append(packets, frame.Packet{Key: k})
		hashes = append(hashes, table.Hash(&k))
		if e, _ := table.Lookup(&k, table.Hash(&k)); uint64(e.Slot)/bucketSlots&^7 != table.buckets(table.Hash(&k))[0]&^7 {
			third++
		}
		if len(packets) == 150 { // more than are guessed at a time, and not a multiple
			found += look()
		}
	}
	found += look()
	if wrong := len(keys) - found; wrong > len(keys)/30 {
		t.Errorf("%d of %d keys are not where they are guessed", wrong, len(keys))
	}
	if third == 0 {
		t.Error("no key stands in its second pair of buckets: the test tests less than it says")
	}
	// Keys that aren't there: no slot shows them.
	for i := range 1000 {
		k := testKey(n + i)
		packets = append(packets, frame.Packet{Key: k})
		hashes = append(hashes, table.Hash(&k))
	}
	if found := look(); found != 0 {
		t.Errorf("%d keys are seen that were never put in", found)
	}
}
