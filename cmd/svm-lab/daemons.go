package main

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

// start brings up the real servers and then the directors, and returns when the
// active director knows where all servers are.
func (f *farm) start(ctx context.Context, p programs, config string) error {
	roles := [...]string{"active", "backup"}
	f.before = map[*netlab.Node][]string{}
	if err := f.lab.Try(func() {
		for _, n := range f.hosts() {
			f.before[n] = n.State()
		}
	}); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for _, n := range f.servers {
		apply := n.Command(ctx, p.rs, "apply", "--config", config, "--node", n.Name(), "--state", f.rsState())
		if err := apply.Run(); err != nil {
			return err
		}
		if _, err := f.daemon(ctx, n, "web server of "+n.Name(), exe, "serve", "--name", n.Name(), "--listen", ":80"); err != nil {
			return err
		}
	}
	for _, n := range f.servers {
		if err := f.listening(ctx, n); err != nil {
			return err
		}
	}
	for i, n := range f.directors {
		if _, err := f.daemon(ctx, n, "svm-fwd of "+n.Name(), p.fwd, "run", "--config", config, "--node", n.Name(),
			"--socket", f.socket(), "--role", roles[i]); err != nil {
			return err
		}
	}
	for i, n := range f.directors {
		if err := f.ready(ctx, p, n, roles[i]); err != nil {
			return err
		}
	}
	return nil
}

// hosts are the machines that SVM's programs run on.
func (f *farm) hosts() []*netlab.Node { return append(slices.Clone(f.directors), f.servers...) }

func (f *farm) rsState() string { return filepath.Join(f.own(), "rs.json") }
func (f *farm) socket() string  { return filepath.Join(f.own(), "fwd.sock") }

// daemon starts a process that has to run until the end.
func (f *farm) daemon(ctx context.Context, n *netlab.Node, title, name string, args ...string) (*netlab.Cmd, error) {
	c := n.Command(ctx, name, args...)
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", title, err)
	}
	f.daemons = append(f.daemons, daemon{title, c})
	return c, nil
}

// listening waits until the node's web server takes connections.
func (f *farm) listening(ctx context.Context, n *netlab.Node) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var last error
	err := await(ctx, func() bool {
		if last = f.dead(); last != nil {
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

// dead tells of a daemon that ended before its time.
func (f *farm) dead() error {
	for _, d := range f.daemons {
		select {
		case <-d.cmd.Done():
			return fmt.Errorf("%s ended early: %v", d.title, d.cmd.Wait())
		default:
		}
	}
	return nil
}

// stop ends the directors as an administrator would, takes the real servers back
// to what they were, and looks whether anything is left behind.
func (f *farm) stop(ctx context.Context, p programs, config string) error {
	var errs []error
	for i := len(f.daemons) - 1; i >= 0; i-- {
		if err := f.daemons[i].cmd.Stop(5 * time.Second); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.daemons[i].title, err))
		}
	}
	for _, n := range f.servers {
		undo := n.Command(ctx, p.rs, "undo", "--config", config, "--node", n.Name(), "--state", f.rsState())
		errs = append(errs, undo.Run())
	}
	errs = append(errs, f.lab.Try(func() {
		for _, n := range f.hosts() {
			for _, line := range netlab.Diff(f.before[n], n.State()) {
				errs = append(errs, fmt.Errorf("%s: not as before: %s", n.Name(), line))
			}
		}
	}))
	return errors.Join(errs...)
}

// books is what the active director counted, in its own words.
func (f *farm) books(ctx context.Context, p programs, s *screen) string {
	n := f.directors[0]
	out, err := n.Command(ctx, p.fwd, "list", "-n", "--stats", "--socket", f.socket()).Output()
	if err != nil {
		return ""
	}
	text := "\n  " + n.Name() + "# svm-fwd list -n --stats\n"
	for line := range strings.Lines(string(out)) {
		text += "  " + s.dim(strings.TrimRight(line, " \n")) + "\n"
	}
	return text + "\n"
}

// logs is the end of what each daemon said.
func (f *farm) logs(lines int) (out string) {
	for _, d := range f.daemons {
		if log := d.cmd.Log(); log != "" {
			out += fmt.Sprintf("--- %s\n%s\n", d.title, lastLines(log, lines))
		}
	}
	return out
}
