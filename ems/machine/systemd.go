package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// SystemdActivator obeys a generation by systemctl and by writing below /proc/sys.
//
// Only what depends on a changed file is touched (stamps don't count): a changed unit
// is restarted, a changed cluster file has its readers reloaded, and where nothing
// changed nothing is done. The exceptions: svm-rs is never restarted, because that would
// take the addresses away for a moment; svm-receiver's socket is only started, because
// what asks for this comes through it; Self is left alone and comes to its new unit with
// its next start.
//
// What the host was like before the first generation (sysctl values, units that ran)
// is kept in Dir/before.json, and restored when a generation without them is settled.
type SystemdActivator struct {
	Root, Dir string // as in Config
	// Self is the unit that this process runs in, such as svm-agent.service.
	Self string
	// CheckCommand has for each kind the command that tells whether a configuration is
	// accepted: {dir} stands for where its files lie, {node} for the machine's name. A
	// kind without a command is not checked. nil: DefaultChecks.
	CheckCommand map[render.Kind][]string
	Systemctl    string        // a name to look up in PATH, or a path; empty: systemctl
	ProcSys      string        // empty: Root/proc/sys
	Timeout      time.Duration // of each command; 0: 60 s
	Log          *slog.Logger  // nil: nothing is logged
}

// DefaultChecks are the commands of the programs where docs/install.md puts them.
func DefaultChecks() map[render.Kind][]string {
	return map[render.Kind][]string{
		render.Director: {"/usr/local/bin/svm-fwd", "check", "{dir}" + render.ClusterFile},
		render.RealServer: {"/usr/local/bin/svm-rs", "apply", "--dry-run", "--node", "{node}",
			"--config", "{dir}" + render.ClusterFile},
	}
}

const (
	unitDir      = "/etc/systemd/system/"
	daemonUnit   = "svm-fwd.service"
	addressUnit  = "svm-rs.service"
	receiverUnit = "svm-receiver.socket"
	maxOutput    = 2 << 10
)

// Check runs the command of c's kind.
func (a *SystemdActivator) Check(ctx context.Context, c *render.Manifest, dir string) error {
	if _, err := a.sysctls(c, dir); err != nil {
		return err
	}
	checks := a.CheckCommand
	if checks == nil {
		checks = DefaultChecks()
	}
	argv := slices.Clone(checks[c.Kind])
	if len(argv) == 0 {
		return nil
	}
	for i := range argv {
		argv[i] = strings.NewReplacer("{dir}", dir, "{node}", c.Node).Replace(argv[i])
	}
	return a.run(ctx, argv...)
}

// Activate is described at Activator. It goes on after a step that failed, so that as
// much as possible obeys, and says what failed.
func (a *SystemdActivator) Activate(ctx context.Context, old, now *render.Manifest) error {
	if now == nil {
		return a.stopAll(ctx, old)
	}
	ch := a.compare(old, now)
	if len(ch) == 0 {
		return nil
	}
	before, err := a.loadBefore()
	if err != nil {
		return err
	}
	if err := a.noteUnits(ctx, before, now); err != nil {
		return err
	}
	var errs []error
	if ch[render.SysctlFile] {
		errs = append(errs, a.applySysctls(before, now))
	}
	units := unitsOf(now)
	changed := slices.DeleteFunc(slices.Clone(units), func(u string) bool { return !ch[unitDir+u] })
	if slices.ContainsFunc(now.Files, func(e render.Entry) bool { return path.Dir(e.Path) == path.Clean(unitDir) && ch[e.Path] }) {
		errs = append(errs, a.systemctl(ctx, "daemon-reload"))
	}
	if len(changed) > 0 {
		errs = append(errs, a.systemctl(ctx, "enable", changed...))
	}
	if slices.ContainsFunc(now.Files, func(e render.Entry) bool { return strings.HasPrefix(e.Path, "/etc/systemd/network/") && ch[e.Path] }) {
		errs = append(errs, a.systemctl(ctx, "try-reload-or-restart", "systemd-networkd.service")) // where it runs
	}
	for _, u := range units {
		if verb := a.verb(u, now, ch); verb != "" {
			errs = append(errs, a.systemctl(ctx, verb, u))
		}
	}
	return errors.Join(errs...)
}

// verb is what unit u needs after the changes ch; "" is nothing.
func (a *SystemdActivator) verb(u string, now *render.Manifest, ch map[string]bool) string {
	itself, reads := ch[unitDir+u], ch[render.ClusterFile]
	switch {
	case u == a.Self:
		if itself || reads {
			a.log().Info("this unit is left alone until its next start", "unit", u)
		}
		return ""
	case strings.HasSuffix(u, ".socket"):
		if itself {
			return "start"
		}
		return ""
	case u == addressUnit:
		if itself || reads {
			return "reload-or-restart"
		}
		return ""
	case itself:
		return "restart"
	case u == daemonUnit && slices.ContainsFunc(now.Files, func(e render.Entry) bool {
		return e.Secret && e.Path != render.RelayKeyFile && ch[e.Path]
	}):
		return "restart" // the pair's key is read once
	case reads:
		return "reload-or-restart"
	}
	return ""
}

// Settle is described at Activator.
func (a *SystemdActivator) Settle(ctx context.Context, old, now *render.Manifest) error {
	if now == nil {
		return a.leaveBare(ctx)
	}
	before, err := a.loadBefore()
	if err != nil {
		return err
	}
	var errs []error
	units := unitsOf(now)
	if slices.Contains(units, addressUnit) && old != nil && a.compare(old, now)[render.ClusterFile] {
		// DIR/previous is gone now: this apply takes away what only old had.
		errs = append(errs, a.systemctl(ctx, "reload-or-restart", addressUnit))
	}
	for _, u := range slices.Backward(unitsOf(old)) {
		if !slices.Contains(units, u) && u != a.Self && a.isThere(u) {
			errs = append(errs, a.systemctl(ctx, "disable", "--now", u))
		}
	}
	errs = append(errs, a.restoreSysctls(before, now))
	return errors.Join(errs...)
}

// compare names the files of now that old doesn't have, or not so, and those of old
// that now doesn't have. A tree that can't be read differs.
func (a *SystemdActivator) compare(old, now *render.Manifest) map[string]bool {
	ch := map[string]bool{}
	for _, e := range now.Files {
		was, had := entryOf(old, e.Path)
		if !had || was.Mode != e.Mode || was.Owner != e.Owner {
			ch[e.Path] = true
			continue
		}
		if was.SHA256 == e.SHA256 {
			continue
		}
		x, err1 := a.read(old, e.Path)
		y, err2 := a.read(now, e.Path)
		if err1 != nil || err2 != nil || !bytes.Equal(render.Unstamped(x), render.Unstamped(y)) {
			ch[e.Path] = true
		}
	}
	if old != nil {
		for _, e := range old.Files {
			if _, has := entryOf(now, e.Path); !has {
				ch[e.Path] = true
			}
		}
	}
	return ch
}

// read reads a file of a generation from the store.
func (a *SystemdActivator) read(m *render.Manifest, p string) ([]byte, error) {
	return readBelow(Tree(a.Dir, m.Generation), p)
}

func readBelow(dir, p string) ([]byte, error) {
	tree, err := openPlace(dir)
	if err != nil {
		return nil, err
	}
	defer tree.close()
	return tree.read(rel(p), maxFile)
}

// unitsOf are the units of m that are started, in the order in which they are: who
// takes orders first, the daemon itself last. Templates are started by others.
func unitsOf(m *render.Manifest) []string {
	if m == nil {
		return nil
	}
	var units []string
	for _, e := range m.Files {
		dir, name := path.Split(e.Path)
		if dir == unitDir && !strings.Contains(name, "@.") && (strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".socket")) {
			units = append(units, name)
		}
	}
	rank := map[string]int{receiverUnit: -1, daemonUnit: 1, addressUnit: 1}
	slices.SortStableFunc(units, func(a, b string) int { return rank[a] - rank[b] })
	return units
}

func (a *SystemdActivator) systemctl(ctx context.Context, verb string, args ...string) error {
	name := a.Systemctl
	if name == "" {
		name = "systemctl"
	}
	return a.run(ctx, append([]string{name, verb}, args...)...)
}

// run runs a command, and says its output if it fails.
func (a *SystemdActivator) run(ctx context.Context, argv ...string) error {
	limit := a.Timeout
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	what := strings.Join(append([]string{filepath.Base(argv[0])}, argv[1:]...), " ")
	a.log().Debug("runs", "command", what)
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = fmt.Errorf("not done within %v", limit)
		if errors.Is(ctx.Err(), context.Canceled) {
			err = ctx.Err()
		}
	}
	text := strings.TrimSpace(string(out[:min(len(out), maxOutput)]))
	if text == "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %s", what, err, text)
}

func (a *SystemdActivator) log() *slog.Logger {
	if a.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Log
}
