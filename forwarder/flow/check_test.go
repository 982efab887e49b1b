package flow

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/svm-cluster/svm/forwarder/frame"
)

// ledger counts what the table reports; shared by all goroutines of a test.
type ledger struct {
	born, gone atomic.Int64
	states     [NumStates]atomic.Int64
}

func (l *ledger) Born(m Meta) { l.born.Add(1); l.states[m.State()].Add(1) }
func (l *ledger) Gone(m Meta) { l.gone.Add(1); l.states[m.State()].Add(-1) }
func (l *ledger) Moved(from, to Meta) {
	l.states[from.State()].Add(-1)
	l.states[to.State()].Add(1)
}

func newTable(t testing.TB, capacity, halfOpen int) *Table {
	t.Helper()
	table, o, err := New(Config{Capacity: capacity, HalfOpen: halfOpen})
	if err != nil {
		t.Fatal(err)
	}
	if o.Recovered != 0 || o.Discarded != "" || o.Nonce == 0 {
		t.Fatalf("a new table comes from %+v", o)
	}
	t.Cleanup(func() { table.Close(true) })
	return table
}

// testKey is the n-th TCP connection of a test.
func testKey(n int) frame.Key {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n)+10<<24)
	src := netip.AddrPortFrom(netip.AddrFrom4(b), uint16(n*7919))
	return frame.MakeKey(src, netip.MustParseAddrPort("192.0.2.100:80"), frame.ProtoTCP)
}

func randomKey(rng *rand.Rand) frame.Key {
	return frame.Key{SrcHi: rng.Uint64(), SrcLo: rng.Uint64(), DstHi: rng.Uint64(), DstLo: rng.Uint64(),
		Tail: frame.Tail(uint16(rng.Uint32()), uint16(rng.Uint32()), frame.ProtoTCP, frame.KeyFlow)}
}

// consistent checks everything that must hold when nobody works on the table, and
// returns its contents. l is nil for a table that others filled.
func consistent(t testing.TB, table *Table, l *ledger) map[frame.Key]Entry {
	t.Helper()
	found := map[frame.Key]Entry{}
	var states [NumStates]int64
	table.Range(func(k *frame.Key, e Entry, _ Tick) bool {
		if other, ok := found[*k]; ok {
			t.Errorf("key %v is in slots %d and %d", *k, other.Slot, e.Slot)
		}
		found[*k] = e
		states[e.Meta.State()]++
		if got, ok := table.Lookup(k, table.Hash(k)); !ok || got != e {
			t.Errorf("key %v is in slot %d, Lookup finds %v %v", *k, e.Slot, got, ok)
		}
		return true
	})
	if table.Len() != len(found) {
		t.Errorf("Len %d, %d entries", table.Len(), len(found))
	}
	bytes := 0
	for b, w := range table.dir {
		for j := range bucketSlots {
			switch tag := w >> (8 * j) & 0xff; tag {
			case 0:
			case reserved:
				t.Errorf("bucket %d slot %d is reserved for ever", b, j)
			default:
				bytes++
			}
		}
	}
	if bytes != len(found) {
		t.Errorf("%d directory bytes for %d entries: slots are lost", bytes, len(found))
	}
	var classes [numClasses]int64
	for s, n := range states {
		classes[classOf[s]] += n
		if l != nil && l.states[s].Load() != n {
			t.Errorf("the ledger says %d entries in state %d, there are %d", l.states[s].Load(), s, n)
		}
	}
	for c := range classes {
		if got := table.class[c].Load(); got != classes[c] {
			t.Errorf("class %d counts %d, there are %d", c, got, classes[c])
		}
	}
	if l != nil && l.born.Load()-l.gone.Load() != int64(len(found)) {
		t.Errorf("%d born, %d gone, %d there", l.born.Load(), l.gone.Load(), len(found))
	}
	return found
}
