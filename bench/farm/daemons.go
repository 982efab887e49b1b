package farm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
)

// daemon is one long-running process of the farm.
type daemon struct {
	title string
	cmd   *netlab.Cmd
}

// readyWithin is how long the daemons may take until traffic can flow.
const readyWithin = 20 * time.Second

// Role is what the i-th director is: active or backup.
func Role(i int) string {
	if i == 0 {
		return "active"
	}
	return "backup"
}

// Start brings up the real servers and then the directors, and returns when the
// active director knows where all servers are.
func (f *Farm) Start(ctx context.Context) error {
	if err := f.StartServers(ctx); err != nil {
		return err
	}
	for i := range f.EDS {
		if _, err := f.StartDirector(ctx, i); err != nil {
			return err
		}
	}
	for i := range f.EDS {
		if err := f.Ready(ctx, i); err != nil {
			return err
		}
	}
	if f.keyed() && len(f.EDS) > 1 {
		return f.Copied(ctx, 1)
	}
	return nil
}

// StartServers takes down what all hosts are like, sets the real servers up and
// starts their web servers. It returns when these listen.
func (f *Farm) StartServers(ctx context.Context) error {
	f.before = map[*netlab.Node][]string{}
	if err := f.Lab.Try(func() {
		for _, n := range f.hosts() {
			f.before[n] = n.State()
		}
	}); err != nil {
		return err
	}
	for _, n := range f.EPS {
		if err := f.Apply(ctx, n); err != nil {
			return err
		}
		if err := f.startWeb(ctx, n); err != nil {
			return err
		}
	}
	for _, n := range f.EPS {
		if err := f.listening(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// Apply runs svm-rs apply on a real server.
func (f *Farm) Apply(ctx context.Context, n *netlab.Node) error { return f.rs(ctx, n, "apply") }

func (f *Farm) rs(ctx context.Context, n *netlab.Node, verb string) error {
	return n.Command(ctx, f.Programs.RS, verb, "--config", f.ClusterFile(), "--node", n.Name(),
		"--state", filepath.Join(f.Own(), "rs.json")).Run()
}

// DirectorArgs are the arguments of svm-fwd that run the i-th director.
func (f *Farm) DirectorArgs(i int) []string {
	args := []string{"run", "--config", f.ClusterFile(), "--node", f.EDS[i].Name(), "--socket", f.Socket()}
	if f.Elect {
		return args
	}
	return append(args, "--role", Role(i))
}

// StartDirector starts svm-fwd on the i-th director and does not wait for it.
func (f *Farm) StartDirector(ctx context.Context, i int) (*netlab.Cmd, error) {
	c := f.EDS[i].Command(ctx, f.Programs.FWD, f.DirectorArgs(i)...)
	return c, f.run("svm-fwd of "+f.EDS[i].Name(), c)
}

// Forward asks the i-th director by svm-fwd's other commands, and returns what it
// says on standard output.
func (f *Farm) Forward(ctx context.Context, i int, args ...string) (string, error) {
	out, err := f.EDS[i].Command(ctx, f.Programs.FWD, append(args, "--socket", f.Socket())...).Output()
	return string(out), err
}

// hosts are the machines that SVM's programs run on.
func (f *Farm) hosts() []*netlab.Node { return append(slices.Clone(f.EDS), f.EPS...) }

// Socket is the path of the runtime API's socket, for the processes of its node.
func (f *Farm) Socket() string { return filepath.Join(f.Own(), "fwd.sock") }

// run starts a process that has to run until it is stopped.
func (f *Farm) run(title string, c *netlab.Cmd) error {
	if err := c.Start(); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	f.daemons = append(f.daemons, daemon{title, c})
	return nil
}

// Release takes a process out of those that have to run: the caller ends it.
func (f *Farm) Release(c *netlab.Cmd) {
	f.daemons = slices.DeleteFunc(f.daemons, func(d daemon) bool { return d.cmd == c })
}

// listening waits until the node's web server takes connections.
func (f *Farm) listening(ctx context.Context, n *netlab.Node) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var last error
	err := Await(ctx, func() bool {
		if last = f.Dead(); last != nil {
			return true
		}
		var c net.Conn
		if c, last = n.Dial(ctx, "tcp", "127.0.0.1:80"); last != nil {
			return false
		}
		c.Close()
		return true
	})
	if err != nil {
		return fmt.Errorf("the web server of %s does not listen: %w", n.Name(), last)
	}
	return last
}

// Dead tells of a daemon that ended before its time.
func (f *Farm) Dead() error {
	for _, d := range f.daemons {
		select {
		case <-d.cmd.Done():
			return fmt.Errorf("%s ended early: %v", d.title, d.cmd.Wait())
		default:
		}
	}
	return nil
}

// Stop ends the directors as an administrator would, takes the real servers back
// to what they were, and looks whether anything is left behind.
func (f *Farm) Stop(ctx context.Context) error {
	var errs []error
	for i := len(f.daemons) - 1; i >= 0; i-- {
		if err := f.daemons[i].cmd.Stop(5 * time.Second); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.daemons[i].title, err))
		}
	}
	f.daemons = nil
	for _, n := range f.EPS {
		errs = append(errs, f.rs(ctx, n, "undo"))
	}
	errs = append(errs, f.Lab.Try(func() {
		for _, n := range f.hosts() {
			errs = append(errs, f.Traces(n))
		}
	}))
	return errors.Join(errs...)
}

// Traces tells what on a host is not as it was before Start.
func (f *Farm) Traces(n *netlab.Node) error {
	var errs []error
	for _, line := range netlab.Diff(f.before[n], n.State()) {
		errs = append(errs, fmt.Errorf("%s: not as before: %s", n.Name(), line))
	}
	return errors.Join(errs...)
}

// Logs is the end of what each daemon said.
func (f *Farm) Logs(lines int) (out string) {
	for _, d := range f.daemons {
		if log := d.cmd.Log(); log != "" {
			all := strings.Split(strings.TrimRight(log, "\n"), "\n")
			out += fmt.Sprintf("--- %s\n%s\n", d.title, strings.Join(all[max(0, len(all)-lines):], "\n"))
		}
	}
	return out
}

// startWeb starts the web server of a real server: this program, once more.
func (f *Farm) startWeb(ctx context.Context, n *netlab.Node) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c := n.Command(ctx, exe)
	c.Env = append(os.Environ(), envServe+"="+n.Name())
	return f.run("web server of "+n.Name(), c)
}
