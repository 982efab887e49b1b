package forwarder

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// run processes frames in full batches, reusing their memory. make returns the
// i-th frame, in buf if it fits.
func (r *rig) run(n int, msPerBatch float64, make func(i int, buf []byte) []byte, each func(i int, reason Reason)) {
	start, batches := r.now, 0.0
	bufs := [pktio.BatchSize][]byte{}
	for at := 0; at < n; {
		r.rx.N = 0
		first := at
		for r.rx.N < pktio.BatchSize && at < n {
			b := append(bufs[r.rx.N][:0], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			b = make(at, b)
			bufs[r.rx.N] = b
			r.rx.Add(&pktio.Frame{Buf: b})
			at++
		}
		batches++
		r.now = start + flow.Tick(batches*msPerBatch)
		for i, reason := range r.process() {
			each(first+i, reason)
		}
	}
}

// A million SYNs from random clients, within the time that one may stay half-open:
// established connections go on, the bound is kept, and after the timeout the
// table is as good as new.
func TestSYNFlood(t *testing.T) {
	syns := 1_000_000
	if testing.Short() {
		syns = 100_000
	}
	const established = 5000
	r := newRig(t, 100_000, 25)
	f := families()[0]
	owners := map[int]string{}
	for n := range established {
		establish(f, n, 4000)(r)
		owners[n] = r.one(f.tcp(n, 4000, ack))
	}
	template4, template6 := f.tcp(1, 1, syn), families()[1].tcp(1, 1, syn)
	rng := rand.New(rand.NewPCG(1, 2))
	counts := map[Reason]int{}
	r.run(syns, 1, func(i int, buf []byte) []byte {
		if i%3 == 0 {
			buf = append(buf, template6...)
			eth := buf[pktio.HeaderLen:]
			binary.BigEndian.PutUint64(eth[30:], rng.Uint64())
			binary.BigEndian.PutUint16(eth[54:], uint16(rng.Uint32()))
			return buf
		}
		buf = append(buf, template4...)
		eth := buf[pktio.HeaderLen:]
		binary.BigEndian.PutUint32(eth[26:], rng.Uint32())
		binary.BigEndian.PutUint16(eth[34:], uint16(rng.Uint32()))
		return buf
	}, func(i int, reason Reason) {
		counts[reason]++
		if have, bound := r.table.HalfOpen(); have > bound {
			t.Fatalf("%d half-open entries, bound %d", have, bound)
		}
		if i%10_000 == 0 {
			n := i / 10_000 * 37 % established
			// Another core, as another worker would be.
			other := &rig{t: t, table: r.table, core: NewCore(r.table), snap: r.snap, specs: r.specs, now: r.now}
			if got := other.one(f.tcp(n, 4000, ack)); got != owners[n] {
				t.Errorf("connection %d during the flood: %s, was %s", n, got, owners[n])
			}
			other.core.books.publish(&r.counters)
		}
	})
	if counts[Fallback] == 0 || counts[Scheduled] == 0 || counts[NoServer] != 0 {
		t.Errorf("what became of the SYNs: %v", counts)
	}
	for n := range established {
		if got := r.one(f.tcp(n, 4000, ack)); got != owners[n] {
			t.Fatalf("connection %d after the flood: %s, was %s", n, got, owners[n])
		}
	}
	r.balanced()
	r.now += 61_000
	r.sweep()
	if r.table.Len() != established {
		t.Errorf("%d entries after the timeout, want %d", r.table.Len(), established)
	}
	for n := range 20_000 { // fits into the bound again
		if got := r.one(f.tcp(10_000+n, 9, syn)); !strings.HasPrefix(got, "scheduled") && !strings.HasPrefix(got, "known") {
			t.Fatalf("a new connection after the flood: %s", got)
		}
	}
	r.balanced()
}

// specimens are valid frames of every sort, to mutate.
func specimens() (list [][]byte) {
	for _, f := range families() {
		u1, u2 := fragments(f.udp(3, 3), 3)
		t1, t2 := fragments(f.tcp(3, 3, syn), 4)
		list = append(list, f.tcp(1, 1, syn), f.tcp(1, 1, ack), f.tcp(1, 1, fin), f.tcp(1, 1, rst), f.udp(1, 1), f.stickyTCP(1, 1, syn),
			f.stickyTCP(1, 1, ack), echo(f.host(1), f.vip), icmpError(f.tcp(1, 1, syn), 3-b2i(f.v6)), icmpError(f.udp(1, 1), 1+2*(1-b2i(f.v6))), u1, u2, t1, t2)
	}
	list = append(list, udp("198.51.0.1:1000", vip4+":5353"), tcp("198.51.0.1:7", vip4b+":7", syn))
	for _, c := range faultCases() {
		list = append(list, c.in[0])
	}
	return list
}

// A million random and mutated frames, while servers come and go: nothing panics,
// every count is right at the end, and the table empties.
func TestRandomFrames(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	r := newRig(t, 5000, 40)
	list := specimens()
	rng := rand.New(rand.NewPCG(3, 4))
	drops, forwards := 0, 0
	for round := range 50 {
		r.run(n/50, 5, func(i int, buf []byte) []byte {
			if i%16 == 0 { // pure noise
				for range rng.IntN(200) {
					buf = append(buf, byte(rng.Uint32()))
				}
				return buf
			}
			buf = append(buf, list[rng.IntN(len(list))]...)
			eth := buf[pktio.HeaderLen:]
			for range rng.IntN(4) {
				if len(eth) > 14 {
					eth[14+rng.IntN(len(eth)-14)] = byte(rng.Uint32())
				}
			}
			if len(eth) > 38 && i%4 == 0 { // many clients
				binary.BigEndian.PutUint16(eth[28:], uint16(rng.IntN(2000)))
			}
			if len(eth) > 0 && i%32 == 1 {
				buf = buf[:pktio.HeaderLen+rng.IntN(len(eth))]
			}
			return buf
		}, func(_ int, reason Reason) {
			switch {
			case reason >= NumReasons || reason == 0:
				t.Fatalf("reason %d", reason)
			case reason.Verdict() == Drop:
				drops++
			default:
				forwards++
			}
		})
		// Something happens to some server; its counts stay with its Load.
		s := r.specs[rng.IntN(len(r.specs))]
		srv := s.servers[rng.IntN(len(s.servers))]
		switch round % 5 {
		case 0:
			srv.weight ^= 1
		case 1:
			srv.unresolved = !srv.unresolved
		case 2:
			srv.cut = !srv.cut
		case 3:
			srv.refusing = !srv.refusing
		case 4:
			srv.load.SetThresholds(int64(rng.IntN(100)), 0)
		}
		r.rebuild()
		r.balanced()
	}
	if drops < n/10 || forwards < n/10 {
		t.Errorf("%d drops, %d forwards: the mixture is no good", drops, forwards)
	}
	r.now += 1_000_000
	r.sweep()
	if r.table.Len() != 0 {
		t.Errorf("%d entries never expire", r.table.Len())
	}
	r.balanced()
}

// FuzzProcess: the input is a sequence of frames (length byte, then bytes), the
// first byte of each says what happens before. Nothing panics, every frame gets a
// verdict, forwarded ones change in their addresses only, and the books balance.
func FuzzProcess(f *testing.F) {
	pack := func(op byte, frames ...[]byte) (b []byte) {
		for _, eth := range frames {
			b = append(append(b, op, byte(len(eth))), eth...)
		}
		return b
	}
	for i, eth := range specimens() {
		f.Add(pack(byte(i), eth, eth))
	}
	f.Add(pack(3, specimens()...))
	table, _, err := flow.New(flow.Config{Capacity: 30, HalfOpen: 40})
	if err != nil {
		f.Fatal(err)
	}
	defer table.Close(true)
	f.Fuzz(func(t *testing.T, data []byte) {
		table.Reset()
		r := &rig{t: t, table: table, core: NewCore(table), specs: standardSpecs(), active: true, now: 1<<32 - 50_000, idle: idleTimes()}
		r.rebuild()
		for len(data) >= 2 {
			op, n := data[0], int(data[1])
			data = data[2:]
			n = min(n, len(data))
			eth := append([]byte(nil), data[:n]...)
			data = data[n:]
			r.now += flow.Tick(op&15) * 5000
			if op&0xe0 != 0 {
				srv := r.specs[int(op)%len(r.specs)].servers[op&1]
				switch op >> 5 {
				case 1:
					srv.weight ^= 1
				case 2:
					srv.unresolved = !srv.unresolved
				case 3:
					srv.cut = !srv.cut
				case 4:
					r.sweep()
				case 5:
					r.active = !r.active
				}
				r.rebuild()
			}
			var p frame.Packet
			if frame.Parse(eth, &p) == frame.OK && p.Kind == frame.Echo && p.L4 != 34+20*int(b2i(p.V6)) {
				continue // wantReply knows no options and extension headers
			}
			r.send(eth)
		}
		r.balanced()
		r.now += 1_000_000
		r.sweep()
		if table.Len() != 0 {
			t.Errorf("%d entries never expire", table.Len())
		}
	})
}

// randomFlow is the n-th connection to the web service.
func randomFlow(n int) frame.Key {
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), uint16(n*7919))
	return frame.MakeKey(src, netip.MustParseAddrPort(vip4+":80"), frame.ProtoTCP)
}
