package sched

import (
	"fmt"
	"testing"
)

// BenchmarkPick is one pick of each scheduler among servers that have connections.
func BenchmarkPick(b *testing.B) {
	flows := make([]*Flow, 1024)
	for i := range flows {
		flows[i] = flow4(uint32(i))
	}
	for _, name := range Names() {
		for _, n := range []int{10, 100} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				bs := farm(same(n, 1000)...)
				for i := range bs {
					bs[i].Weight += i % 7
					bs[i].Load.Add(int64(100+i*13%50), 20)
				}
				s := mustNew(b, Config{Name: name, Key: testKey}, bs, nil)
				for _, f := range flows {
					s.Pick(f)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					s.Pick(flows[i%len(flows)])
				}
			})
		}
	}
}

// BenchmarkPickParallel shows what the workers' sharing of a cursor costs.
func BenchmarkPickParallel(b *testing.B) {
	for _, name := range []string{"rr", "wrr", "wlc", "mh", "lblc"} {
		b.Run(name, func(b *testing.B) {
			s := mustNew(b, Config{Name: name, Key: testKey}, farm(same(10, 3)...), nil)
			f := flow4(1)
			s.Pick(f)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s.Pick(f)
				}
			})
		})
	}
}

// BenchmarkMaglevTable is a rebuild; the goal is 2 ms with 100 backends.
func BenchmarkMaglevTable(b *testing.B) {
	for _, n := range []int{2, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bs := farm(same(n, 1)...)
			for b.Loop() {
				mustNew(b, Config{Name: "mh", Key: testKey}, bs, nil)
			}
		})
	}
	b.Run("100 of all weights", func(b *testing.B) {
		bs := farm(same(100, 1)...)
		for i := range bs {
			bs[i].Weight = 1 + i*i*6
		}
		for b.Loop() {
			mustNew(b, Config{Name: "mh", Key: testKey}, bs, nil)
		}
	})
}

// BenchmarkWRRWorst is the case that IPVS's loop takes 65535 rounds for: the heavy
// servers are overloaded.
func BenchmarkWRRWorst(b *testing.B) {
	bs := farm(append(same(99, 65535), 1)...)
	for i := range 99 {
		overload(&bs[i])
	}
	s := mustNew(b, Config{Name: "wrr"}, bs, nil)
	for b.Loop() {
		s.Pick(nil)
	}
}
