package station

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Somebody is killed with SIGKILL at every step of a push: the station, a director's
// receiver, a real server's, or others that run beside them. Afterwards, and without
// any help, every machine is wholly on one generation, visitors have noticed nothing,
// and the next push brings all machines to the same one.
func TestKilled(t *testing.T) {
	t.Parallel() // most of a push is waiting
	tools(t, "strace")
	c := &crashes{trial: newTrial(t)}
	began := time.Now()
	// What an undisturbed push says is where the station can be killed.
	p := c.push(c.next())
	check(t, p.wait())
	c.same("undisturbed")
	steps := stepsOf(p.said)
	n := 0
	steps = slices.DeleteFunc(steps, func(s string) bool { // what the second of a kind does before the switch is like the first one's
		second := strings.HasPrefix(s, "eds2") || strings.HasPrefix(s, "eps2")
		first := strings.HasPrefix(s, "eds1") || strings.HasPrefix(s, "eps1")
		// Every fourth one will do for each change of the tree; SVM_CRASH=all has all.
		if n++; n%4 != 1 && os.Getenv("SVM_CRASH") != "all" {
			return true
		}
		return !first && !(second && (strings.Contains(s, "switching") || strings.Contains(s, "confirming")))
	})

	abandoned, mending := abandonedPushes(), mendedPushes()
	for i := 0; i < max(len(steps), 2*len(abandoned), 3*len(mending)); i++ {
		if i < len(steps) {
			c.stationAt(steps[i])
		}
		if i%2 == 1 && i/2 < len(abandoned) {
			c.abandon(abandoned[i/2])
		}
		if i%3 == 2 && i/3 < len(mending) {
			c.goesOn(mending[i/3])
		}
	}
	c.mended("pushes that were interrupted")
	for _, s := range stationStrikes() {
		c.stationIn(s)
	}
	c.mended("commits that were interrupted")
	for _, r := range rollbacks() {
		c.goesBack(r)
	}
	for _, b := range bystanders() {
		c.bystanders(b)
	}
	c.mended("everything")
	t.Logf("%d points in %.0f s:\n%s", c.points, time.Since(began).Seconds(), strings.Join(c.table, "\n"))
	if c.points < 60 {
		t.Errorf("only %d points were hit", c.points)
	}
}

// strikes are those of each machine.
type strikes map[string][]Strike

// crashes counts and tells what was hit.
type crashes struct {
	*trial
	points int
	table  []string
}

func (c *crashes) hit(who, where, hit, are string) {
	if hit != "" {
		c.points++
	} else {
		hit = "(not reached)"
	}
	hit = inStore.Replace(hit)
	c.table = append(c.table, fmt.Sprintf("%-4s %-42s %-12s %.130s", who, where, are, hit))
}

// inStore shortens what strace says.
var inStore = strings.NewReplacer("/var/lib/svm-config", "STORE", StateDir, "STATE")

// stepsOf makes the steps of a push of what it said, each once.
func stepsOf(said []string) (steps []string) {
	seen := map[string]int{}
	for _, line := range said {
		line, _, _ = strings.Cut(line, " bytes")
		line = strings.TrimRight(line, " 0123456789")
		seen[line]++
		steps = append(steps, fmt.Sprintf("%s/%d", line, seen[line]))
	}
	return steps
}

// stationAt kills the station as soon as it says that a step begins.
func (c *crashes) stationAt(step string) {
	var seen []string
	hit := ""
	p := c.pushUnder(nil, func(p *pushing, line string) {
		seen = append(seen, line)
		if now := stepsOf(seen); hit == "" && now[len(now)-1] == step {
			hit = "SIGKILL"
			_ = p.cmd.Process.Signal(syscall.SIGKILL)
		}
	}, c.next())
	if p.wait() == nil {
		hit = ""
	}
	c.hit("ems", step, hit, c.whole("station killed at "+step))
}

// stationStrikes are calls of svm-ems that change its state.
func stationStrikes() (all []Strike) {
	for _, n := range []int{1, 3, 8} {
		all = append(all, Strike{Calls: "fsync", Nth: n})
	}
	for _, n := range []int{1, 2, 3, 5} {
		all = append(all, Strike{Calls: "renameat", Nth: n})
	}
	return append(all, Strike{Calls: "mkdirat", Nth: 1})
}

// stationIn kills the station in a system call, on the way to its next generation. The
// next push needs no help.
func (c *crashes) stationIn(s Strike) {
	log := "/run/strike.log"
	p := c.pushUnder(s.strace(log), nil, c.next())
	err := p.wait()
	hit := struck(c.EMS.Path(log))
	if err != nil && hit == "" {
		c.t.Errorf("station with %s: %v", s, err)
	}
	c.hit("ems", "commit "+s.String(), hit, c.whole("station killed in "+s.String()))
}

// abandonedPushes are pushes whose station dies together with a receiver.
func abandonedPushes() (all []strikes) {
	for _, m := range []string{"eds1", "eps1"} {
		for _, s := range []Strike{
			{Verb: "switch", Calls: "renameat", Nth: 3}, // current
			{Verb: "switch", Calls: "symlinkat", Nth: 1},
			{Verb: "confirm", Calls: "renameat", Nth: 1}, // the confirmation
		} {
			all = append(all, strikes{m: {s}})
		}
	}
	return all
}

// abandon kills the station as soon as a receiver was killed.
func (c *crashes) abandon(at strikes) {
	c.strike(at)
	p := c.push(c.next())
	for c.firstStruck(at) == "" {
		select {
		case <-p.cmd.Done():
		case <-time.After(2 * time.Millisecond):
			continue
		}
		break
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may have ended
	_ = p.wait()
	c.tell(at, "and the station")
}

// mendedPushes are pushes that lose receivers and go on.
func mendedPushes() []strikes {
	s := func(verb, calls string, n int) Strike { return Strike{Verb: verb, Calls: calls, Nth: n} }
	return []strikes{
		{
			"eds1": {s("stage", "fsync", 1)}, "eds2": {s("stage", "fsync", 9)},
			"eps1": {s("sftp", "fsync", 1), s("switch", "fsync", 1)}, "eps2": {s("stage", "fsync", 4), s("confirm", "renameat", 1)},
		}, {
			"eds1": {s("stage", "renameat", 1)}, "eds2": {s("stage", "mkdirat", 3)},
			"eps1": {s("stage", "renameat", 1), s("switch", "renameat", 1)}, "eps2": {s("stage", "mkdirat", 2), s("switch", "renameat", 2)},
		}, {
			"eds1": {s("sftp", "fsync", 1)}, "eds2": {s("sftp", "pwrite64", 1)},
			"eps1": {s("stage", "waitid", 1), s("switch", "renameat", 3)}, "eps2": {s("stage", "fchmod", 3), s("switch", "renameat", 4)},
		}, {
			"eds1": {s("stage", "waitid", 1)}, "eds2": {s("stage", "fchmod", 2)},
			"eps1": {s("sftp", "pwrite64", 1), s("confirm", "fsync", 1)}, "eps2": {s("stage", "renameat", 2), s("confirm", "fsync", 4)},
		}, {
			"eds1": {s("switch", "renameat", 2)}, "eds2": {s("relay switch", "write", 8)},
			"eps1": {s("switch", "waitid", 1), s("confirm", "unlinkat", 3)}, "eps2": {s("status", "flock", 1), s("confirm", "unlinkat", 12)},
		}, {
			"eds1": {s("switch", "renameat", 4)}, "eds2": {s("relay stage", "write", 7)},
			"eps1": {s("switch", "symlinkat", 2), s("confirm", "renameat", 2)}, "eps2": {s("switch", "fsync", 3), s("confirm", "fsync", 2)},
		}, {
			"eds1": {s("confirm", "renameat", 1)}, "eds2": {s("relay confirm", "write", 6)},
			"eps1": {s("switch", "fsync", 4), s("confirm", "openat", 60)}, "eps2": {s("switch", "waitid", 1), s("confirm", "renameat", 3)},
		}, {
			"eds1": {s("switch", "waitid", 1)}, "eds2": {s("confirm", "renameat", 2)},
			"eps1": {s("switch", "renameat", 6), s("stage", "fsync", 8)}, "eps2": {s("switch", "fsync", 7), s("sftp", "unlinkat", 1)},
		},
	}
}

// goesOn lets the station go on without those who are killed. It ends the push, with
// success or without it; then the next one does.
func (c *crashes) goesOn(at strikes) {
	c.strike(at)
	err := c.push(c.next()).wait()
	c.tell(at, "")
	if err != nil {
		c.t.Logf("%v ended with %v", at, err)
		c.strike(nil)
		c.mended(fmt.Sprint(at))
		return
	}
	c.same(fmt.Sprint(at))
}

// rollbacks are those of a generation that can't become well.
func rollbacks() []strikes {
	s := func(calls string, n int) []Strike { return []Strike{{Verb: "rollback", Calls: calls, Nth: n}} }
	return []strikes{
		{"eds1": s("renameat", 1), "eds2": s("fsync", 1), "eps1": s("renameat", 2), "eps2": s("renameat", 1)},
		{"eds1": s("renameat", 3), "eds2": s("symlinkat", 1), "eps1": s("renameat", 3), "eps2": s("symlinkat", 1)},
		{"eds1": s("fsync", 2), "eds2": s("waitid", 1), "eps1": s("waitid", 1), "eps2": s("fsync", 4)},
	}
}

// goesBack pushes a generation with a service that nobody serves, and kills receivers
// on the way back.
func (c *crashes) goesBack(at strikes) {
	before := c.whole("before a rollback")
	c.strike(at)
	text := c.text("rr", []int{1, 1 + c.rounds%9}, fmt.Sprintf("  - {name: nobody, vip: %s, ports: 81, check: {type: tcp, port: 81}, servers: [{name: eps1}, {name: eps2}]}\n", c.MoreVIP(4, 2)))
	p := c.pushUnder(nil, nil, text, "--require-up", "--health-timeout", "1s")
	if err := p.wait(); err == nil || !strings.Contains(err.Error(), "rolled back") {
		c.t.Errorf("a service without servers is delivered: %v", err)
	}
	after := c.tell(at, "")
	if before != after {
		c.t.Errorf("machines were on %s and are on %s after a rollback", before, after)
	}
}

// bystander is a process that is killed while a push goes on.
type bystander struct {
	who, what string
	at        string // the step at which that happens
}

// bystanders are those of each push.
func bystanders() [][]bystander {
	return [][]bystander{
		{{"eds1", "svm-fwd run", "eps1 switching/1"}, {"eps2", "svm-rs agent", "eps2 staging/1"}},
		{{"eds1", "svm-fwd run", "eds1 confirming/1"}, {"eps1", "svm-rs agent", "eps1 switching/1"}},
		{{"eds1", "svm-fwd provision", "eds1 switching/1"}, {"eds2", "svm-fwd receive --direct", "eds2 switching/1"}},
	}
}

func (c *crashes) bystanders(all []bystander) {
	var seen []string
	hits := make([]string, len(all))
	p := c.pushUnder(nil, func(_ *pushing, line string) {
		seen = append(seen, line)
		now := stepsOf(seen)
		for i, b := range all {
			if now[len(now)-1] == b.at && hits[i] == "" {
				hits[i] = c.machine(b.who).kill(b.what)
			}
		}
	}, c.next())
	err := p.wait()
	are := c.whole(fmt.Sprint(all))
	for i, b := range all {
		c.hit(b.who, "at "+b.at, hits[i], are)
	}
	if err != nil {
		c.t.Logf("%v: %s", all, first(err))
		c.mended(fmt.Sprint(all))
		return
	}
	c.same(fmt.Sprint(all))
}

func (c *crashes) strike(at strikes) {
	c.t.Helper()
	for _, m := range c.Machines() {
		check(c.t, m.Strike(at[m.Name()]...))
	}
}

func (c *crashes) firstStruck(at strikes) string {
	for name, all := range at {
		for i := range all {
			if hit := c.machine(name).Struck(i); hit != "" {
				return hit
			}
		}
	}
	return ""
}

// tell checks the farm and notes what each strike hit.
func (c *crashes) tell(at strikes, also string) string {
	are := c.whole(fmt.Sprint(at))
	for _, m := range c.Machines() {
		for i, s := range at[m.Name()] {
			c.hit(m.Name(), s.String()+" "+also, m.Struck(i), are)
		}
	}
	c.strike(nil)
	return are
}

func (f *Farm) machine(name string) *Machine {
	for _, m := range f.Machines() {
		if m.Name() == name {
			return m
		}
	}
	return nil
}
