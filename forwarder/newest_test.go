package forwarder

import (
	"sync/atomic"
	"testing"
)

// Workers come to a new Snapshot one after the other. One that is still at an old
// batch meets what a faster one has put in for a backend that is new.
func TestWorkersBetweenTwoSnapshots(t *testing.T) {
	f := families()[0]
	start := func(t *testing.T) (r *rig, slow *Core, old *Snapshot) {
		r = newRig(t, 100, 50)
		r.change("web/a", func(s *server) { s.removed = true })
		r.change("web/b", func(s *server) { s.removed = true })
		old = r.snap
		newest := new(atomic.Pointer[Snapshot])
		newest.Store(old)
		slow = NewCore(r.table)
		r.core.newest, slow.newest = newest, newest
		r.change("web/b", func(s *server) { s.removed, s.generation = false, 1 })
		newest.Store(r.snap)
		r.expect("scheduled web/b", f.tcp(1, 80, syn))
		r.expect("known web/b", f.tcp(1, 80, ack))
		r.balanced()
		return r, slow, old
	}
	t.Run("a packet", func(t *testing.T) {
		r, slow, old := start(t)
		fast := r.snap
		r.fill(f.tcp(1, 80, ack), f.tcp(1, 80, fin))
		slow.Process(&r.rx, &r.servers, &r.clients, old, r.now)
		for i, reason := range slow.Reasons(&r.rx) {
			if to := r.backendOf(r.rx.Frames[i].Eth()); reason != Known || to != "web/b" {
				t.Errorf("frame %d: %v to %s", i, reason, to)
			}
		}
		r.snap = fast
		r.balanced()
		slow.books.publish(&r.counters)
		r.core.books.publish(&r.counters)
		if n := r.server("web/b").stats.Packets.Load(); n != 4 {
			t.Errorf("%d packets counted, want 4", n)
		}
	})
	t.Run("the sweep", func(t *testing.T) {
		r, slow, old := start(t)
		r.now += 1_000_000
		slow.snap, slow.now = old, r.now
		r.table.Sweep(0, r.table.Buckets(), r.now, slow)
		if r.table.Len() != 0 {
			t.Fatal("nothing was swept")
		}
		r.balanced()
	})
}

// An index that another backend takes over within a batch splits no counts.
func TestBooksOfOneIndex(t *testing.T) {
	var k books
	a, b := &Backend{Ref: MakeRef(3, 0), Stats: new(Stats)}, &Backend{Ref: MakeRef(3, 1), Stats: new(Stats)}
	for i := range 10 {
		k.carry(a, 100)
		if i%2 == 0 {
			k.carry(b, 1)
			k.begin(b)
		}
	}
	var c Counters
	k.publish(&c)
	k.publish(&c)
	if p, n := a.Stats.Packets.Load(), a.Stats.Bytes.Load(); p != 10 || n != 1000 {
		t.Errorf("the first has %d packets of %d bytes", p, n)
	}
	if p, n := b.Stats.Packets.Load(), b.Stats.Connections.Load(); p != 5 || n != 5 {
		t.Errorf("the second has %d packets, %d connections", p, n)
	}
}
