package health

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkMonitor1000 watches 1000 targets by real HTTP on loopback, each
// every 2 s, and reports what that costs once all are up. ns/op only says that 500
// checks a second are due. The CPU time is that of both ends, and so are the
// memory and goroutines, but for what was there before the first check.
func BenchmarkMonitor1000(b *testing.B) {
	const targets = 1000
	addr := benchServer(b)
	for _, typ := range []string{TCP, HTTP} {
		b.Run(typ, func(b *testing.B) {
			var checks atomic.Int64
			m := New(Config{Probe: func(ctx context.Context, t Target) Result {
				defer checks.Add(1)
				return Check(ctx, t, nil)
			}})
			before, goroutines := heap(), runtime.NumGoroutine()
			var all []Target
			for i := range targets {
				all = append(all, Target{Key: fmt.Sprint("web/eps", i), Addr: addr, Spec: Spec{Type: typ}})
			}
			m.Set(all)
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); m.Run(ctx) }()
			for up := 0; up < targets; runtime.Gosched() {
				time.Sleep(10 * time.Millisecond)
				up = 0
				for _, s := range m.Status() {
					if s.Up {
						up++
					}
				}
			}
			goal, cpu := checks.Load()+int64(b.N), cpuTime()
			first := checks.Load()
			b.ResetTimer()
			for checks.Load() < goal {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-cpu)/float64(checks.Load()-first)/1000, "cpu-us/check")
			b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
			b.ReportMetric(float64(heap()-before)/targets, "B/target")
			cancel()
			<-ended
		})
	}
}

// BenchmarkCheck is one check after another of a server on loopback.
func BenchmarkCheck(b *testing.B) {
	addr := benchServer(b)
	for _, typ := range []string{TCP, HTTP, Ping} {
		b.Run(typ, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := Check(b.Context(), Target{Addr: addr, Spec: Spec{Type: typ}}, nil); r.Outcome != Pass {
					b.Fatal(r.Text)
				}
			}
		})
	}
}

// benchServer answers HTTP with as little as possible of what is measured.
func benchServer(b *testing.B) netip.AddrPort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if n, _ := c.Read(buf); n > 0 {
				c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
			}
			c.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// heap returns the bytes in use by live objects and by stacks.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc + s.StackInuse)
}

// cpuTime returns the CPU time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
