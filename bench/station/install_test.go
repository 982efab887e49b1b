package station

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

// elsewhere says why the lab does without a command of the manual; empty: it doesn't.
func elsewhere(command string) string {
	for _, e := range []struct{ prefix, why string }{
		{"apt ", "the machines' /usr is the host's, where the packages are"},
		{"echo ok >", "the lab's web server has /healthz, and /var/www is the host's"},
		{`echo "$(hostname)`, "the lab's web server says its name"},
		{"git ", "the source is here"},
		{"CGO_ENABLED=0 go build ", "TestMain builds the programs"},
		{"scp ", "the lab puts them in place"},
		{"install ", "the lab puts them in place"},
	} {
		if strings.HasPrefix(command, e.prefix) {
			return e.why
		}
	}
	return ""
}

// looks tells whether a command changes nothing, so that it may be repeated until what
// it shows has come about, as a reader would.
func looks(command string) bool {
	return slices.ContainsFunc([]string{"svm-ems status", "curl ", "for i in ", "svm-fwd ha show", "svm-fwd list", "svm-rs check"},
		func(prefix string) bool { return strings.HasPrefix(command, prefix) })
}

// The manual is followed to the letter, from bare machines to a farm that serves, both
// ways, and everything it shows comes.
func TestInstall(t *testing.T) {
	tools(t, "curl", "useradd")
	// The machines have users of their own, which takes more than one user to map.
	require(t, os.Chown(t.TempDir(), 1, 1))
	f := newFarm(t, 2)
	// Not only root shall be able to start the programs.
	check(t, os.Chmod(built.dir, 0o755))
	r := &reader{t: t, f: f, nodes: map[string]*netlab.Node{"client": f.Client}, machines: map[string]*Machine{}, followed: map[string]bool{}}
	names := []string{"client"}
	for _, m := range append(f.Machines(), f.EMS) {
		r.machines[m.Name()] = m
		names = append(names, m.Name())
	}
	m, err := readManual("../../docs/install.md", names)
	check(t, err)
	r.m = m
	begin := []string{"The machines", "The station", "Introduce the machines and the station to each other"}
	r.follow(begin...)
	r.follow("Way one: on line")
	first := f.sameGeneration(t)
	v := f.Visit(t.Context(), 2)
	r.follow("Change something", "Keep a backup")
	r.nobodyFailed(v)
	r.follow("When a push fails")
	r.follow("A real server is replaced")
	check(t, f.Serving(t.Context()))
	v = f.Visit(t.Context(), 2)
	r.follow("A director is replaced", "The station is replaced")
	r.nobodyFailed(v)
	r.follow("Take SVM off again")
	for _, m := range f.Machines() {
		left, err := m.delivered()
		check(t, err)
		if len(left) > 0 {
			t.Errorf("%s still has %v", m.Name(), slices.Sorted(maps.Keys(left)))
		}
	}
	r.follow(begin...)
	r.follow("Way two: by floppy or USB stick")
	check(t, f.Serving(t.Context()))
	if again := f.sameGeneration(t); again != first {
		t.Errorf("generation %d by the medium, %d on line", again, first)
	}
	v = f.Visit(t.Context(), 2)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	check(t, farm.Await(ctx, func() bool { return v.Served("eps1") >= 20 && v.Served("eps2") >= 20 }))
	r.nobodyFailed(v)
	for _, c := range m.chapters {
		if len(c.steps) > 0 && !r.followed[c.title] {
			t.Errorf("nobody follows the chapter %q", c.title)
		}
	}
}

// reader follows the manual.
type reader struct {
	t        *testing.T
	f        *Farm
	m        *manual
	nodes    map[string]*netlab.Node
	machines map[string]*Machine
	said     []string // all lines so far
	followed map[string]bool
}

func (r *reader) nobodyFailed(v *Visitors) {
	r.t.Helper()
	n, err := v.Leave()
	if err != nil || n == 0 {
		r.t.Errorf("%d requests: %v", n, err)
		return
	}
	r.t.Logf("%d requests, none failed", n)
}

// follow does what these chapters say.
func (r *reader) follow(titles ...string) {
	r.t.Helper()
	for _, title := range titles {
		i := slices.IndexFunc(r.m.chapters, func(c chapter) bool { return c.title == title })
		if i < 0 {
			r.t.Fatalf("the manual has no chapter %q", title)
		}
		r.followed[title] = true
		for _, s := range r.m.chapters[i].steps {
			if len(s.lab) > 0 {
				if err := r.happen(s.lab); err != nil {
					r.t.Fatalf("line %d: %v", s.line, err)
				}
			}
			for _, name := range s.machines {
				r.do(s, name)
			}
		}
	}
}

func (r *reader) do(s step, name string) {
	r.t.Helper()
	if why := elsewhere(s.command); why != "" {
		r.t.Logf("line %d: left out, %s: %s", s.line, why, s.command)
		return
	}
	command, err := paste(s.command, r.said)
	if err != nil {
		r.t.Fatalf("line %d: %v", s.line, err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		begun := time.Now()
		out, err := r.run(name, command)
		if strings.Contains(command, "# fails") {
			if err == nil {
				err = errors.New("it should fail")
			} else if errors.As(err, new(*exec.ExitError)) {
				err = nil
			}
		}
		if err == nil {
			err = differs(s.output, out)
		}
		if err == nil {
			r.t.Logf("line %d (%v)\n%s# %s\n%s", s.line, time.Since(begun).Round(time.Millisecond), name, command, out)
			r.said = append(r.said, strings.Split(out, "\n")...)
			return
		}
		if !looks(command) || time.Now().After(deadline) {
			r.t.Fatalf("line %d: %v\n%s# %s\n%s", s.line, err, name, command, out)
		}
		select {
		case <-r.t.Context().Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// run types a line on a machine, in root's home there.
func (r *reader) run(name, command string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var c *netlab.Cmd
	if m := r.machines[name]; m != nil {
		c = m.Command(ctx, "/bin/sh", "-c", "exec 2>&1; cd; "+command)
	} else {
		c = r.nodes[name].Command(ctx, "/bin/sh", "-c", "exec 2>&1; "+command)
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Start()
	if err == nil {
		err = c.Wait()
	}
	return out.String(), err
}

// happen does to machines what the manual's reader does by hand.
func (r *reader) happen(words []string) error {
	ctx := r.t.Context()
	m := r.machines[words[1]]
	switch words[0] {
	case "off":
		return m.Off()
	case "on":
		return m.Boot(ctx)
	case "new": // another machine in its place, with some files of the old one
		return r.replace(m, words[2:])
	case "carry": // a file of a machine to others, on a stick
		from, file, _ := strings.Cut(words[1], ":")
		text, err := r.machines[from].read("/root/" + file)
		for _, to := range words[2:] {
			err = errors.Join(err, r.machines[to].Write("/root/"+file, text, 0o600))
		}
		return err
	}
	return fmt.Errorf("what is %q?", words[0])
}

func (r *reader) replace(m *Machine, files []string) error {
	kept := map[string]string{}
	for _, file := range files {
		text, err := m.read("/root/" + file)
		if err != nil {
			return err
		}
		kept[file] = text
	}
	if err := errors.Join(m.Off(), m.Wipe(r.f.Programs)); err != nil {
		return err
	}
	for file, text := range kept {
		if err := m.Write("/root/"+file, text, 0o600); err != nil {
			return err
		}
	}
	if i := slices.Index(r.f.EPS, m); i >= 0 {
		// Its disk was all that knew its address.
		for _, a := range r.f.ServerNet.Host(r.f.Families, farm.ServerHost+i) {
			m.AddrDel("eth0", a)
		}
		if err := m.InstallWeb(); err != nil {
			return err
		}
	}
	return m.Boot(r.t.Context())
}
