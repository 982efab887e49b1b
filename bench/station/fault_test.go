package station

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/svm-cluster/svm/bench/farm"
)

// Disks fill up or turn read-only, and networks are cut, at every step of a push. All
// machines stay wholly on one generation, visitors notice nothing, and the next push
// after the repair brings all to the same one.
func TestFaults(t *testing.T) {
	t.Parallel() // most of a push is waiting
	tools(t, "strace")
	f := newFarm(t, 2)
	for _, m := range []*Machine{f.EMS, f.EDS[1], f.EPS[1]} {
		check(t, m.smallDisk(t))
	}
	r := furnished(t, f)
	for _, c := range []struct {
		name string
		do   func(*trial)
	}{
		{"full disks", fullDisks}, {"read-only disks", readOnlyDisks}, {"failing calls", failingCalls},
		{"short cuts", shortCuts},
	} {
		began := time.Now()
		ok := t.Run(c.name, func(t *testing.T) {
			here := *r
			here.t = t
			c.do(&here)
			*r = here
			r.t = t
		})
		t.Logf("%s: %.1f s", c.name, time.Since(began).Seconds())
		if !ok {
			return
		}
	}
}

// smallDisk gives a machine without files a /var/lib of its own, of few megabytes.
func (m *Machine) smallDisk(t testing.TB) error {
	if err := m.Off(); err != nil {
		return err
	}
	dir := m.Path("/var/lib")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size=4m"); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return m.Boot(t.Context())
}

// fill leaves so many bytes of the machine's small disk free.
func (m *Machine) fill(free uint64) error {
	ballast := m.Path("/var/lib/ballast")
	if err := os.Remove(ballast); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(m.Path("/var/lib"), &st); err != nil {
		return err
	}
	have := st.Bavail * uint64(st.Bsize)
	return os.WriteFile(ballast, make([]byte, have-min(have, free)), 0o600)
}

func (m *Machine) empty() error { return os.Remove(m.Path("/var/lib/ballast")) }

func (m *Machine) readOnly(yes bool) error {
	var flags uintptr = syscall.MS_REMOUNT
	if yes {
		flags |= syscall.MS_RDONLY
	}
	return syscall.Mount("tmpfs", m.Path("/var/lib"), "tmpfs", flags, "mode=0755,size=4m")
}

// failed pushes and wants it to fail for a reason that names the machine, with all
// machines where they were.
func (r *trial) failed(when string, says ...string) {
	r.t.Helper()
	before := r.whole("before " + when)
	err := r.push(r.next()).wait()
	if err == nil {
		r.t.Errorf("%s: the push succeeded", when)
		return
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			r.t.Errorf("%s: the error does not say %q: %v", when, want, err)
		}
	}
	if after := r.whole(when); after != before {
		r.t.Errorf("%s: machines were on %s and are on %s", when, before, after)
	}
}

func fullDisks(r *trial) {
	delivered := 0
	for i, m := range []*Machine{r.EPS[1], r.EDS[1]} {
		for _, free := range [][]uint64{{0, 24 << 10, 48 << 10}, {0, 72 << 10, 96 << 10}}[i] {
			check(r.t, m.fill(free))
			when := fmt.Sprintf("%s has %d KB left", m.Name(), free>>10)
			before := r.whole("before: " + when)
			err := r.push(r.next()).wait()
			after := r.whole(when)
			switch {
			case err == nil:
				delivered++
				r.same(when)
			case !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), m.Name()):
				r.t.Errorf("%s: the push does not say so: %v", when, err)
			case before != after && !strings.Contains(err.Error(), "not all confirmed"):
				r.t.Errorf("%s: machines were on %s and are on %s: %v", when, before, after, err)
			}
			r.t.Logf("%s: %s -> %s, %v", when, before, after, first(err))
		}
		check(r.t, m.empty())
		r.mended(m.Name() + " has space again")
	}
	if delivered > 3 {
		r.t.Error("no disk was ever full")
	}
	check(r.t, r.EMS.fill(0))
	r.failed("the station's disk is full", "no space left")
	check(r.t, r.EMS.fill(12<<10))
	r.failed("the station's disk is nearly full", "no space left")
	check(r.t, r.EMS.empty())
	r.mended("the station has space again")
}

// first is what svm-ems says of a push that failed.
func first(err error) string {
	if err == nil {
		return "delivered"
	}
	_, said, ok := strings.Cut(err.Error(), "svm-ems: ")
	if !ok {
		return err.Error()
	}
	return strings.Join(strings.Fields(said), " ")
}

func readOnlyDisks(r *trial) {
	for _, m := range []*Machine{r.EPS[1], r.EDS[1], r.EMS} {
		check(r.t, m.readOnly(true))
		err := r.push(r.next()).wait()
		if err == nil || !strings.Contains(err.Error(), "read-only file system") {
			r.t.Errorf("%s can't write: %v", m.Name(), err)
		}
		r.t.Logf("%s can't write: %s", m.Name(), first(err))
		check(r.t, m.readOnly(false))
		r.whole(m.Name() + " could not write")
		r.mended(m.Name() + " can write again")
	}
}

// failingCalls has single calls of receivers fail, as on a disk that fills up or turns
// read-only right then.
func failingCalls(r *trial) {
	c := &crashes{trial: r}
	s := func(verb, calls string, n int, errno string) []Strike {
		return []Strike{{Verb: verb, Calls: calls, Nth: n, Inject: "error=" + errno}}
	}
	for _, at := range []strikes{
		{"eps1": s("stage", "fsync", 3, "EIO")},
		{"eps1": s("switch", "renameat", 3, "ENOSPC")}, {"eds1": s("switch", "renameat", 3, "EROFS")},
		{"eps2": s("switch", "fsync", 8, "ENOSPC")}, {"eds2": s("switch", "symlinkat", 2, "ENOSPC")},
		{"eps2": s("confirm", "renameat", 1, "EROFS")}, {"eds1": s("confirm", "renameat", 1, "ENOSPC")},
	} {
		c.strike(at)
		err := c.push(c.next()).wait()
		c.tell(at, "")
		r.t.Logf("%v: %s", at, first(err))
		if err != nil {
			c.mended(fmt.Sprint(at))
		} else {
			c.same(fmt.Sprint(at))
		}
	}
	r.t.Log("\n" + strings.Join(c.table, "\n"))
	if c.points < 5 {
		r.t.Errorf("only %d calls failed", c.points)
	}
}

// address of a machine in the server network.
func (r *trial) address(m *Machine) string {
	i, host := slices.Index(r.EDS, m), farm.DirectorHost
	if m == r.EMS {
		i, host = 0, farm.StationHost
	} else if i < 0 {
		i, host = slices.Index(r.EPS, m), farm.ServerHost
	}
	return r.ServerNet.Addr(4, host+i)
}

// cut drops silently whatever m sends to those machines, until the returned function is
// called. What it sends to clients passes.
func (r *trial) cut(m *Machine, from ...*Machine) (restore func()) {
	r.t.Helper()
	each := func(do func(*netlink.Route) error) error {
		return m.Do(func() error {
			var errs []error
			for _, to := range from {
				dst := &net.IPNet{IP: net.ParseIP(r.address(to)).To4(), Mask: net.CIDRMask(32, 32)}
				errs = append(errs, do(&netlink.Route{Dst: dst, Type: syscall.RTN_BLACKHOLE}))
			}
			return errors.Join(errs...)
		})
	}
	check(r.t, each(netlink.RouteAdd))
	return sync.OnceFunc(func() { check(r.t, each(netlink.RouteDel)) })
}

// cuts are those who don't hear each other from a step on.
type cuts struct {
	at   string
	m    func(*trial) *Machine
	from func(*trial) []*Machine
}

func eds(i int) func(*trial) *Machine { return func(r *trial) *Machine { return r.EDS[i] } }
func eps(i int) func(*trial) *Machine { return func(r *trial) *Machine { return r.EPS[i] } }
func ems(r *trial) []*Machine         { return []*Machine{r.EMS} }
func both(r *trial) []*Machine        { return r.EDS }

// pushCut pushes, and cuts a network at a step. restored, which may be nil, then gets
// what ends the cut; it ends with the push at the latest.
func (r *trial) pushCut(c cuts, restored func(end func()), args ...string) error {
	var once sync.Once
	var seen []string
	end := func() {}
	m := c.m(r)
	p := r.pushUnder(nil, func(_ *pushing, line string) {
		seen = append(seen, line)
		if now := stepsOf(seen); strings.HasPrefix(now[len(now)-1], c.at) {
			once.Do(func() {
				end = r.cut(m, c.from(r)...)
				if restored != nil {
					restored(end)
				}
			})
		}
	}, r.next(), args...)
	err := p.wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	end()
	return err
}

// shortCuts last for two seconds: the push goes on afterwards.
func shortCuts(r *trial) {
	for _, c := range []cuts{
		{"eds1 uploading", eds(0), ems}, {"eds2 staging", eds(1), ems}, {"eps1 staging", eps(0), both},
		{"eps2 switching", eps(1), both}, {"eds1 switching", eds(0), ems}, {"eds2 confirming", eds(1), ems},
	} {
		err := r.pushCut(c, func(end func()) { time.AfterFunc(2*time.Second, end) })
		when := fmt.Sprintf("%s was cut off for 2 s at %s", c.m(r).Name(), c.at)
		r.whole(when)
		r.t.Logf("%s: %s", when, first(err))
		if err != nil {
			r.mended(when)
		} else {
			r.same(when)
		}
	}
}

// A machine that can't be reached stops a push, is left out, or is waited for.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	leftOut(newTrial(t))
}

// A machine is cut off until the push has given up. That is mostly waiting, so each has
// a farm of its own.
func TestCutOff(t *testing.T) {
	t.Parallel() // most of a push is waiting
	all := []cuts{{"eds2 switching", eds(1), ems}}
	if os.Getenv("SVM_CRASH") == "all" { // the same minute of waiting for each
		all = append(all, cuts{"eps1 switching", eps(0), both}, cuts{"eds1 confirming", eds(0), ems})
	}
	for _, c := range all {
		t.Run(c.at, func(t *testing.T) {
			t.Parallel()
			r := newTrial(t)
			began := time.Now()
			err := r.pushCut(c, nil, "--away", "5s", "--rollback-timeout", "10s")
			when := fmt.Sprintf("%s was cut off at %s", c.m(r).Name(), c.at)
			if err == nil {
				t.Errorf("%s, and the push succeeded", when)
			}
			t.Logf("%s: after %.0f s: %s; machines on %s", when, time.Since(began).Seconds(), first(err), r.whole(when))
			r.mended(when)
		})
	}
}

// leftOut tries the three policies for a machine that can't be reached from the start.
func leftOut(r *trial) {
	for _, m := range []*Machine{r.EPS[1], r.EDS[1]} {
		others := append([]*Machine{r.EMS}, both(r)...)
		others = slices.DeleteFunc(others, func(o *Machine) bool { return o == m })
		end := r.cut(m, others...)
		before := r.whole("before")
		err := r.push(r.next()).wait()
		if err == nil || !strings.Contains(err.Error(), "--skip "+m.Name()) || !strings.Contains(err.Error(), "--wait") {
			r.t.Errorf("%s is away: %v", m.Name(), err)
		}
		if after := r.whole(m.Name() + " is away"); after != before {
			r.t.Errorf("a push that was stopped because %s is away moved machines from %s to %s", m.Name(), before, after)
		}
		if err := r.push(r.next(), "--skip", m.Name()).wait(); err != nil {
			r.t.Errorf("without %s: %v", m.Name(), err)
		}
		r.t.Logf("without %s: machines on %s", m.Name(), r.whole("without "+m.Name()))
		began := time.Now()
		end()
		ctx, cancel := context.WithTimeout(r.t.Context(), 90*time.Second)
		err = farm.Await(ctx, func() bool {
			g, err := m.settled()
			return err == nil && g == r.begun
		})
		cancel()
		if err != nil {
			r.t.Errorf("%s does not catch up by itself: machines on %s", m.Name(), r.whole("back again"))
		}
		r.t.Logf("%s has caught up %.1f s after it returned", m.Name(), time.Since(began).Seconds())
		r.same(m.Name() + " caught up")
	}
	// Waited for: it comes back while the push waits.
	away := r.EPS[1]
	end := r.cut(away, both(r)...)
	var once sync.Once
	p := r.pushUnder(nil, func(_ *pushing, line string) {
		if strings.HasPrefix(line, away.Name()+" waiting") {
			once.Do(end)
		}
	}, r.next(), "--wait", "60s")
	if err := p.wait(); err != nil {
		r.t.Errorf("%s was waited for: %v", away.Name(), err)
	}
	r.same(away.Name() + " was waited for")
}
