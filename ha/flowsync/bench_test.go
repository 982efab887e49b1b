package flowsync

import (
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// BenchmarkPut is what a worker pays for a change.
func BenchmarkPut(b *testing.B) {
	f := flow.NewFeed(1 << 16)
	var dst [1 << 12]uint32
	for i := range b.N {
		f.Put(uint32(i))
		if i%len(dst) == len(dst)-1 {
			f.Take(dst[:])
		}
	}
}

// BenchmarkRecords sends changes of 100 000 connections from one table to another,
// both sides on one core, without sockets.
func BenchmarkRecords(b *testing.B) {
	for _, side := range []string{"both", "send"} {
		b.Run(side, func(b *testing.B) {
			s := newSim(b, 1, newTables(b, 150_000))
			s.feed = 1 << 12
			s.cfg.Rate = 4 << 30
			s.both(8)
			s.delay, s.nodes[0].e.greeted = 0, 0
			a, z := s.nodes[0], s.nodes[1]
			a.e.setActive(true, s.now)
			s.until(2000, "synced", func() bool { return s.synced(1) })
			id := identity(0)
			hi, lo := frame.Words(id.VIP)
			var slots []uint32
			for i := range 100_000 {
				k := frame.Key{SrcLo: mapped | 10<<24 | uint64(i)>>8, DstHi: hi, DstLo: lo, Tail: frame.Tail(uint16(i), 80, 6, frame.KeyFlow)}
				e, _ := a.table.Insert(&k, a.table.Hash(&k), flow.MakeMeta(flow.Established, 0), s.now+900_000, s.now, ledger0{})
				slots = append(slots, e.Slot)
			}
			s.until(2000, "all there", func() bool {
				a.e.stream.owed = z.table.Len() < len(slots)
				return z.table.Len() == len(slots)
			})
			// Straight from one to the other: no queue.
			spent := time.Duration(0)
			var buf [maxDatagram]byte
			a.e.transmit = func(d []byte) {
				at := time.Now()
				z.e.receive(buf[:copy(buf[:], d)], s.now)
				spent += time.Since(at)
			}
			var words [][]byte
			z.e.transmit = func(d []byte) { words = append(words, append([]byte(nil), d...)) }
			before, bytes := a.e.totals.recordsOut, a.e.totals.bytesOut
			n := 0
			b.ResetTimer()
			for range b.N {
				a.feed.Put(slots[n*7919%len(slots)])
				if n++; n%2000 == 0 {
					s.now++
					a.e.tick(s.now)
					at := time.Now()
					z.e.tick(s.now)
					spent += time.Since(at)
					for _, d := range words {
						a.e.receive(d, s.now)
					}
					words = words[:0]
				}
			}
			if told := a.e.totals.recordsOut - before; told > 0 {
				took := b.Elapsed()
				if side == "send" {
					took -= spent
				}
				b.ReportMetric(float64(told)/took.Seconds(), "records/s")
				b.ReportMetric(float64(a.e.totals.bytesOut-bytes)/float64(told), "bytes/record")
			}
		})
	}
}

// BenchmarkWholeTable is a backup that joins an active with a million connections,
// over real sockets, at the default rate and at the highest.
func BenchmarkWholeTable(b *testing.B) {
	const n = 1_000_000
	for _, rate := range []int{0, 4 << 30} {
		name := "default"
		if rate != 0 {
			name = "unbounded"
		}
		b.Run(name, func(b *testing.B) {
			p := newPair(b, n, 1<<10)
			p.fill(b, n)
			for _, s := range p.syncs {
				if rate != 0 {
					s.e.cfg.Rate = rate
				}
			}
			p.syncs[0].SetActive(true)
			stop := p.run(0)
			for range b.N {
				p.tables[1].Reset()
				before := p.syncs[0].Status()
				stop1 := p.run(1)
				began := time.Now()
				await(b, "synced", p.syncs[1].Synced)
				b.ReportMetric(time.Since(began).Seconds(), "s/table")
				st := p.syncs[0].Status()
				b.ReportMetric(float64(st.BytesOut-before.BytesOut)/1e6, "MB/table")
				b.ReportMetric(float64(st.Resent-before.Resent), "resent")
				if got := p.tables[1].Len(); got != n {
					b.Fatalf("%d entries; %+v", got, p.syncs[1].Status())
				}
				stop1()
			}
			stop()
		})
	}
}

// BenchmarkIdle is a tick of an active with a million connections that nothing
// happens to: it looks at all deadlines once in Scan. At the default Batch there
// are 200 a second.
func BenchmarkIdle(b *testing.B) {
	s := newSim(b, 1, newTables(b, 1_000_000))
	s.cfg.Scan = 0
	s.both(1)
	a := s.nodes[0]
	a.e.setActive(true, s.now)
	s.until(2000, "synced", func() bool { return s.synced(1) })
	p := &pair{tables: [2]*flow.Table{a.table}, now: func() flow.Tick { return s.now }}
	p.fill(b, 1_000_000)
	a.table.Range(func(_ *frame.Key, e flow.Entry, d flow.Tick) bool {
		a.e.stream.told[e.Slot] = d
		return true
	})
	told := a.e.totals.recordsOut
	b.ResetTimer()
	for range b.N {
		s.now += 5
		a.e.session.heard, a.e.stream.pass.ended = s.now, s.now
		a.e.tick(s.now)
	}
	if a.e.totals.recordsOut != told {
		b.Errorf("%d records", a.e.totals.recordsOut-told)
	}
}

// BenchmarkJunk is what a refused datagram of full size costs, without the socket.
func BenchmarkJunk(b *testing.B) {
	for _, kind := range []string{"session", "forged", "greeting"} {
		b.Run(kind, func(b *testing.B) {
			s := newSim(b, 1, newTables(b, 100))
			s.both(1)
			s.until(2000, "a session", func() bool { return s.nodes[1].e.session != nil })
			e := s.nodes[1].e
			d := make([]byte, maxDatagram)
			d[0], d[1], d[15] = version, kindData, 99
			switch kind {
			case "forged":
				copy(d[2:], e.session.rx.tag[:])
			case "greeting":
				d[1], d = kindHello, d[:helloLen]
			}
			for range b.N {
				e.receive(d, s.now)
			}
		})
	}
}
