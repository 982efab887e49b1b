package forwarder

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// The established-flow pipeline, beside two baselines in the same run:
//
//   - process: Core.Process on full batches: parse, look up among a million flows
//     in random order, move the TCP state, rewrite, count, hand on.
//   - map: the same parser, rewriting and counting, the flow in Go's built-in map
//     (map[frame.Key]), with no state, deadline or verdict to keep.
//   - floor: no work but reading one random 64-byte line per packet, in the same
//     order of flows, in memory of the table's size and kind (huge pages where the
//     kernel gives them). The lines of a batch are independent, so the processor
//     fetches many side by side: a floor that is hard to reach.
//
// The three take turns of 1024 batches, on the same flows and with the same clock,
// so a noisy machine disturbs all alike. Writing the flows' addresses and ports
// into the frames happens before each measured piece: a ring's frames are there
// when a batch begins, fresh in the cache because the kernel has just written
// them. The clock's own cost (about 1 ns a packet) is in all three.
//
// The goal is 1.5 times the floor plus 30 ns; ns-above-goal says by how much it is
// missed, or reached if negative: -5.8 in the median of seven runs (45 ns a packet,
// floor 13.8; docs/performance.md). Of what stands between floor and process the
// directory's line is the largest part: a second access, with a TLB miss of its own
// where the host does not back the guest's huge pages.

const (
	benchFlows = 1_000_000
	benchTurn  = 1024 // batches
)

type bench struct {
	r      *rig
	tuples []uint64 // one flow each: client address << 32 | port << 16
	line   []uint32 // for each flow its line for the floor
	memory []byte   // for the floor
	flows  map[frame.Key]*Backend
	frames [pktio.BatchSize]pktio.Frame
	at     int
	sink   uint64
}

// benchOf builds the million flows once for all benchmarks.
var benchOf = sync.OnceValue(func() *bench {
	var tb testing.B // for rig's errors; never run
	table, _, err := flow.New(flow.Config{Capacity: benchFlows, HalfOpen: 100})
	if err != nil {
		panic(err)
	}
	r := &rig{t: &tb, table: table, core: NewCore(table), specs: standardSpecs(), active: true, now: 1, idle: idleTimes()}
	r.rebuild()
	b := &bench{r: r, flows: make(map[frame.Key]*Backend, benchFlows)}
	rng := rand.New(rand.NewPCG(1, 1))
	seen := make(map[uint64]bool, benchFlows)
	for len(b.tuples) < benchFlows {
		tuple := uint64(1+rng.IntN(200))<<56 | uint64(rng.Uint32()>>8)<<32 | uint64(rng.Uint32()>>16)<<16
		if tuple>>56 != 127 && !seen[tuple] {
			seen[tuple] = true
			b.tuples = append(b.tuples, tuple)
		}
	}
	for range benchFlows {
		b.line = append(b.line, uint32(rng.IntN(benchFlows*10/7)))
	}
	b.memory, err = syscall.Mmap(-1, 0, benchFlows*10/7*64, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	_ = syscall.Madvise(b.memory, syscall.MADV_HUGEPAGE)
	for i := 0; i < len(b.memory); i += 64 {
		b.memory[i] = byte(i >> 6)
	}
	template := tcp("198.51.0.1:1", vip4+":80", ack)
	for i := range b.frames {
		b.frames[i].Buf = append(make([]byte, pktio.HeaderLen, 2048), template...)
	}
	web := r.snap.VIPs[netip.MustParseAddr(vip4)].Services[0]
	for at := 0; at < benchFlows; at += pktio.BatchSize {
		for range 2 { // the second segment confirms
			b.load(at)
			b.take()
			for _, reason := range r.process() {
				if reason.Verdict() != Forward {
					panic(reason.String())
				}
			}
		}
		for i := range min(pktio.BatchSize, benchFlows-at) {
			var p frame.Packet
			frame.Parse(b.frames[i].Eth(), &p)
			b.flows[p.Key] = web.Backends[i%len(web.Backends)]
		}
	}
	// Another order than that of insertion, for nothing to be in step.
	rng.Shuffle(len(b.tuples), func(i, j int) { b.tuples[i], b.tuples[j] = b.tuples[j], b.tuples[i] })
	if table.Len() != benchFlows || len(b.flows) != benchFlows {
		panic("flows are missing")
	}
	return b
})

// load writes the next 64 flows of the order into the frames.
func (b *bench) load(at int) {
	for i := range pktio.BatchSize {
		tuple := b.tuples[(at+i)%benchFlows]
		eth := b.frames[i].Buf[pktio.HeaderLen:]
		binary.BigEndian.PutUint32(eth[26:], uint32(tuple>>32))
		binary.BigEndian.PutUint16(eth[34:], uint16(tuple>>16))
	}
}

// take fills the receive batch as a ring does.
func (b *bench) take() {
	b.r.rx.N = 0
	for i := range b.frames {
		b.r.rx.Add(&b.frames[i])
	}
}

func (b *bench) process() {
	b.r.core.Process(&b.r.rx, &b.r.servers, &b.r.clients, b.r.snap, b.r.now)
	if b.r.servers.N != pktio.BatchSize {
		panic(b.r.core.Reasons(&b.r.rx)[0].String())
	}
}

func (b *bench) mapped() {
	rx, tx := &b.r.rx, &b.r.servers
	tx.N = 0
	var p frame.Packet
	for i := range rx.N {
		f := &rx.Frames[i]
		if frame.Parse(f.Eth(), &p) != frame.OK {
			continue
		}
		if to, ok := b.flows[p.Key]; ok {
			frame.Rewrite(f.Eth(), &to.Addresses)
			b.r.core.books.carry(to, p.Bytes())
			tx.Add(f)
		}
	}
	if tx.N != pktio.BatchSize {
		panic("not in the map")
	}
}

func (b *bench) floor(lines *[pktio.BatchSize]uint32) {
	sum := uint64(0)
	base := unsafe.Pointer(unsafe.SliceData(b.memory))
	for _, n := range lines {
		sum += *(*uint64)(unsafe.Add(base, uintptr(n)*64+40))
	}
	b.sink += sum
}

// median keeps the time of each batch. Its median is what the machine can do; the
// mean would count whatever else ran on it.
type median []time.Duration

func (m *median) add(start time.Time) { *m = append(*m, time.Since(start)) }

func (m median) nsPerPacket() float64 {
	slices.Sort(m)
	return float64(m[len(m)/2].Nanoseconds()) / pktio.BatchSize
}

func BenchmarkEstablished(b *testing.B) {
	s := benchOf()
	var process, mapped, floor median
	var lines [pktio.BatchSize]uint32
	next := func() int {
		s.at = (s.at + pktio.BatchSize) % benchFlows
		return s.at
	}
	for b.Loop() {
		for range benchTurn {
			s.load(next())
			s.take()
			start := time.Now()
			s.process()
			process.add(start)
		}
		for range benchTurn {
			s.load(next())
			s.take()
			start := time.Now()
			s.mapped()
			mapped.add(start)
		}
		for range benchTurn {
			at := next()
			for i := range lines {
				lines[i] = s.line[(at+i)%benchFlows]
			}
			start := time.Now()
			s.floor(&lines)
			floor.add(start)
		}
	}
	ours, builtin, least := process.nsPerPacket(), mapped.nsPerPacket(), floor.nsPerPacket()
	b.ReportMetric(ours, "ns/packet")
	b.ReportMetric(builtin, "map-ns/packet")
	b.ReportMetric(least, "floor-ns/packet")
	b.ReportMetric(builtin/ours, "x-faster-than-map")
	b.ReportMetric(ours-(1.5*least+30), "ns-above-goal") // negative: reached
	b.ReportMetric(0, "ns/op")
}

// BenchmarkProcess is Process alone, for profiles.
func BenchmarkProcess(b *testing.B) {
	s := benchOf()
	var process median
	for b.Loop() {
		s.load(s.at)
		s.take()
		start := time.Now()
		s.process()
		process.add(start)
		s.at = (s.at + pktio.BatchSize) % benchFlows
	}
	b.ReportMetric(process.nsPerPacket(), "ns/packet")
	b.ReportMetric(0, "ns/op")
}
