package forwarder

import (
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// With the half-open part full the hash decides, for syn and segments alike, and
// everything that was confirmed before goes on.
func TestProcessHalfOpenBound(t *testing.T) {
	for _, f := range families() {
		r := newRig(t, 1000, 10)
		establish(f, 1, 1)(r)
		kept := r.one(f.tcp(1, 1, ack))
		picked := map[string]int{}
		for n := range 500 {
			want := "fallback " + r.hashed(f.tcp(2000+n, 7, syn))
			got := r.one(f.tcp(2000+n, 7, syn))
			if have, bound := r.table.HalfOpen(); have > bound || bound != 100 {
				t.Fatalf("%d half-open, bound %d", have, bound)
			}
			if n < 100 {
				if !strings.HasPrefix(got, "scheduled") {
					t.Fatalf("%s syn %d: %s with room", f.name, n, got)
				}
				continue
			}
			picked[got]++
			for _, flags := range []uint8{ack, ack | psh, fin | ack} {
				if again := r.one(f.tcp(2000+n, 7, flags)); got != want || again != want {
					t.Fatalf("%s syn %d: %s, flags %#x: %s, want %s", f.name, n, got, flags, again, want)
				}
			}
		}
		if len(picked) != 2 {
			t.Errorf("%s: the hash picks %v", f.name, picked)
		}
		r.expect(kept, f.tcp(1, 1, ack))
		// A confirmed connection makes room for one more.
		r.one(f.tcp(2000, 7, ack))
		if got := r.one(f.tcp(5000, 7, syn)); !strings.HasPrefix(got, "scheduled") {
			t.Errorf("%s with room again: %s", f.name, got)
		}
		r.balanced()
		r.now += 61_000
		r.sweep()
		if got := r.one(f.tcp(6000, 7, syn)); !strings.HasPrefix(got, "scheduled") {
			t.Errorf("%s after the timeout: %s", f.name, got)
		}
	}
}

func TestProcessFull(t *testing.T) {
	r := newRig(t, 64, 100)
	f := families()[0]
	for n := range 64 {
		establish(f, 300+n, 1)(r)
	}
	if r.table.Len() != 64 {
		t.Fatalf("%d entries", r.table.Len())
	}
	for n := range 100 {
		for _, eth := range [][]byte{f.tcp(900+n, 1, syn), f.tcp(900+n, 1, ack), f.udp(900+n, 1)} {
			if got, want := r.one(eth), "fallback "+r.hashed(eth); got != want {
				t.Errorf("client %d: %s, want %s", n, got, want)
			}
		}
	}
	for n := range 64 {
		if got := r.one(f.tcp(300+n, 1, ack)); !strings.HasPrefix(got, "known") {
			t.Errorf("connection %d: %s", n, got)
		}
	}
	r.server("web/a").refusing = true
	r.server("web/b").refusing = true
	r.rebuild()
	r.expect("no-server", f.tcp(900, 1, syn), f.tcp(900, 1, ack))
	r.balanced()
}

// Large datagrams of new clients get through whole when the half-open part is
// full: fragments have a part of their own.
func TestProcessFragmentsWithoutRoom(t *testing.T) {
	r := newRig(t, 400, 10)
	f := families()[0]
	for n := range 100 {
		r.one(f.tcp(600+n, 1, syn))
	}
	for n := range 10 { // as many as a quarter of the half-open part
		first, later := fragments(f.udp(n, 1), uint16(n))
		want := r.hashed(first)
		r.expect("fallback "+want, first)
		r.expect("followed "+want, later)
	}
	first, later := fragments(f.udp(11, 1), 11)
	r.expect("fallback "+r.hashed(first), first)
	r.expect("unknown-fragment", later) // and no more
	r.balanced()
}

// Another worker may insert the same connection between this one's look-up and
// its insert; its pick counts.
func TestProcessSameConnectionOnTwoWorkers(t *testing.T) {
	r := newRig(t, 100, 50)
	eth := families()[0].tcp(1, 1, syn)
	var p frame.Packet
	frame.Parse(eth, &p)
	other := &Core{table: r.table, snap: r.snap, now: r.now}
	b := r.snap.VIPs[p.Key.Dst()].Services[0].Backends[1]
	h := r.table.Hash(&p.Key)
	if _, res := r.table.Insert(&p.Key, h, flow.MakeMeta(flow.SynRecv, b.Ref), r.now+1000, r.now, other); res != flow.Inserted {
		t.Fatal(res)
	}
	r.core.snap, r.core.now = r.snap, r.now
	got, reason := r.core.unknown(&p, h)
	if got != b || reason != Known {
		t.Errorf("%v %v, want the other worker's pick", got, reason)
	}
	// One whose server has gone since is no answer.
	e, _ := r.table.Lookup(&p.Key, h)
	r.table.Update(&e, flow.Meta(uint64(e.Meta)&^0xffffffff|0xfffff), other)
	got, reason = r.core.unknown(&p, h)
	if got == nil || reason != Scheduled {
		t.Errorf("%v %v, want the scheduler's pick", got, reason)
	}
}
