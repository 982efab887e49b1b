package bench

import (
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where things run when there is a choice: the generator on the first processor
// that this process may use, a forwarder on the last.
const (
	cpuAny = iota
	cpuOfGenerator
	cpuOfForwarder
)

// spawn runs f on an operating system thread of its own and returns what it
// returns.
func spawn(cpu int, f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with f, and its affinity with it.
		runtime.LockOSThread()
		pin(0, cpu)
		done <- f()
	}()
	return done
}

// pin keeps a thread (0: this one) on its processor, where there are two.
func pin(tid, cpu int) {
	var all, one unix.CPUSet
	if cpu == cpuAny || unix.SchedGetaffinity(os.Getpid(), &all) != nil {
		return
	}
	var list []int
	for i := range len(all) * 64 {
		if all.IsSet(i) {
			list = append(list, i)
		}
	}
	if len(list) < 2 {
		return
	}
	one.Set(list[0])
	if cpu == cpuOfForwarder {
		one.Zero()
		one.Set(list[len(list)-1])
	}
	_ = unix.SchedSetaffinity(tid, &one) // an unpinned run is only noisier
}

// processorTime is what the calling thread has had so far. Interrupts that hit it
// count too: on a veth pair that is all the receiving side's work for what it sends.
func processorTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // can't fail for this clock
	return time.Duration(ts.Nano())
}

// once makes f run once, when called or when the test ends.
func once(t testing.TB, f func()) func() {
	g := sync.OnceFunc(f)
	t.Cleanup(g)
	return g
}
