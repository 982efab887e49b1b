package bundle

import (
	"fmt"
	"testing"
)

func BenchmarkMake(b *testing.B) {
	for _, servers := range []int{50, 100, 200} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			f := newFarm(b, servers)
			b.ReportAllocs()
			for b.Loop() {
				f.make(b)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, servers := range []int{50, 100, 200} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			f := newFarm(b, servers)
			raw, sig := f.make(b)
			pin := f.key.Public()
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := Open(raw, sig, pin); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPart(b *testing.B) {
	f := newFarm(b, 200)
	bundle := f.open(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bundle.Part("eps100"); err != nil {
			b.Fatal(err)
		}
	}
}
