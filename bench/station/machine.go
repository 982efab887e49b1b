package station

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

// Programs are the paths of SVM's programs.
type Programs struct {
	farm.Programs
	EMS string
}

// Machine is a node with a disk, an init and sshd.
type Machine struct {
	*netlab.Node
	Disk string // the rest of the machine sees its files below here
	init *netlab.Cmd
	sshd *netlab.Cmd
}

// own are the directories that each machine has to itself.
var own = []string{"/etc", "/root", "/run", "/usr/local", "/var/lib"}

// kept are the files of the host that a machine needs to run at all.
var kept = []string{
	"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/ld.so.conf",
	"/etc/services", "/etc/protocols", "/etc/ssh/moduli", "/etc/localtime", "/etc/login.defs",
}

// Furnish gives the node a fresh disk: what a Debian machine has after the programs
// and openssh-server were installed, and nothing of SVM's configuration.
func Furnish(n *netlab.Node, disk string, p Programs) (*Machine, error) {
	m := &Machine{Node: n, Disk: disk}
	for _, dir := range own {
		if err := os.MkdirAll(filepath.Join(disk, dir), 0o755); err != nil {
			return nil, err
		}
		n.Bind(filepath.Join(disk, dir), dir)
	}
	return m, m.Wipe(p)
}

// Wipe empties the disk and installs the machine afresh. It must be off.
func (m *Machine) Wipe(p Programs) error {
	for _, dir := range own {
		old, err := os.ReadDir(m.Path(dir))
		if err != nil {
			return err
		}
		for _, e := range old {
			if err := os.RemoveAll(filepath.Join(m.Path(dir), e.Name())); err != nil {
				return err
			}
		}
	}
	for _, dir := range []string{"/etc/ssh", "/etc/systemd/system", "/etc/systemd/network", "/etc/sysctl.d", "/run/sshd", "/usr/local/bin"} {
		if err := os.MkdirAll(m.Path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(m.Path("/root"), 0o700); err != nil {
		return err
	}
	for _, path := range kept {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = m.Write(path, string(b), 0o644)
		}
		if err != nil {
			return err
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for name, target := range map[string]string{"svm-fwd": p.FWD, "svm-rs": p.RS, "svm-ems": p.EMS, "systemctl": exe, "strike": exe, "web": exe} {
		if err := os.Symlink(target, m.Path("/usr/local/bin/"+name)); err != nil {
			return err
		}
	}
	// No password fits; without a line sshd would take the account for locked.
	if err := m.Write("/etc/shadow", "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n", 0o600); err != nil {
		return err
	}
	if err := m.Write("/etc/ssh/sshd_config", sshdConfig, 0o644); err != nil {
		return err
	}
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", m.Name(), "-f", m.Path("/etc/ssh/ssh_host_ed25519_key")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return nil
}

// sshdConfig is a careful administrator's: keys only, and for root only such that
// are bound to a command.
const sshdConfig = `HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin forced-commands-only
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
MaxStartups 100
MaxSessions 100
ClientAliveInterval 5
Subsystem sftp internal-sftp
`

// Path is where the rest of the machine sees a file of this machine's disk.
func (m *Machine) Path(path string) string { return filepath.Join(m.Disk, path) }

// Write puts a file on the disk.
func (m *Machine) Write(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(m.Path(path)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.Path(path), []byte(text), mode)
}

// Boot starts init, with all enabled units, and sshd.
func (m *Machine) Boot(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	on := context.WithoutCancel(ctx) // until Off
	m.init = m.Node.Command(on, exe)
	m.init.Env = append(environ(), envInit+"=1")
	if err := m.init.Start(); err != nil {
		return err
	}
	m.sshd = m.Command(on, "/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config")
	if err := m.sshd.Start(); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		c, err := m.Dial(wait, "tcp", "127.0.0.1:22")
		if err == nil {
			c.Close()
			if _, err = os.Stat(m.Path(initSocket)); err == nil {
				return nil
			}
		}
		for _, d := range []*netlab.Cmd{m.init, m.sshd} {
			select {
			case <-d.Done():
				return fmt.Errorf("%s does not boot: %v\n%s", m.Name(), d.Wait(), d.Log())
			default:
			}
		}
		select {
		case <-wait.Done():
			return fmt.Errorf("%s does not boot: %w", m.Name(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Off ends everything that runs on the machine, as an orderly shutdown does; what is
// left of /run goes with it.
func (m *Machine) Off() error {
	var errs []error
	for i, d := range []*netlab.Cmd{m.sshd, m.init} {
		if d != nil {
			if i == 0 {
				m.hangUp()
			}
			if err := d.Stop(20 * time.Second); err != nil && !strings.Contains(err.Error(), "signal: terminated") {
				errs = append(errs, fmt.Errorf("%s: %w", m.Name(), err))
			}
		}
	}
	m.sshd, m.init = nil, nil
	old, err := os.ReadDir(m.Path("/run"))
	errs = append(errs, err)
	for _, e := range old {
		errs = append(errs, os.RemoveAll(filepath.Join(m.Path("/run"), e.Name())))
	}
	return errors.Join(append(errs, os.MkdirAll(m.Path("/run/sshd"), 0o755))...)
}

// hangUp ends sshd's sessions: one whose client was cut off would hold on to the
// machine for a while.
func (m *Machine) hangUp() {
	for _, p := range m.Processes() {
		if strings.HasPrefix(p.Args, "sshd: ") && !strings.Contains(p.Args, "[listener]") {
			_ = syscall.Kill(p.PID, syscall.SIGKILL) // it may have ended
		}
	}
}

// Command prepares a process on the machine, with its own programs first in PATH.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *netlab.Cmd {
	c := m.Node.Command(ctx, name, args...)
	c.Env = environ()
	return c
}

func environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PATH=") && !strings.HasPrefix(e, envInit+"=") {
			env = append(env, e)
		}
	}
	return append(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
}

// Run runs one of SVM's programs on the machine and returns its standard output; an
// error carries the standard error.
func (m *Machine) Run(ctx context.Context, name string, args ...string) (string, error) {
	c := m.Command(ctx, "/usr/local/bin/"+name, args...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Start()
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		err = fmt.Errorf("%s: %s %s: %w\n%s%s", m.Name(), name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), err
}

// Log is what init, its units and sshd have said.
func (m *Machine) Log() string {
	var b strings.Builder
	for _, d := range []*netlab.Cmd{m.init, m.sshd} {
		if d != nil {
			b.WriteString(d.Log())
		}
	}
	return b.String()
}

// Units are the services that the machine's init knows of, running or not, instances
// as long as they run or are cleaned up after.
func (m *Machine) Units() ([]string, error) {
	r := ask(m.Path(initSocket), []string{"list-units"})
	if r.Code != 0 {
		return nil, fmt.Errorf("%s: %s", m.Name(), r.Text)
	}
	return strings.Fields(r.Text), nil
}

// Wrap puts words before the program of each process of a unit that starts from now
// on; none: no longer.
func (m *Machine) Wrap(unit string, words ...string) error {
	if len(words) == 0 {
		if err := os.Remove(m.Path(wrapFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(map[string][]string{unit: words})
	if err != nil {
		return err
	}
	return m.Write(wrapFile, string(b), 0o644)
}
