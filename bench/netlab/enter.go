package netlab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// envState tells a process how it stands to the namespaces. The environment is
// where it is kept because it has to outlive an exec, and because the worker
// processes of a fuzz run must find it too.
//
//	setup WHAT...   make yourself at home, and report on file descriptor 3
//	inside ID N U   already there; ID says where, N is the process seen from
//	                outside, U "user" in a user namespace
//	none REASON     not possible
const envState = "SVM_NETLAB"

// Main is a TestMain: it runs the tests inside namespaces of their own, or in
// place where that is not allowed, in which case New skips.
func Main(m *testing.M) {
	inside, code, err := Enter()
	switch {
	case err != nil:
		os.Setenv(envState, "none "+err.Error())
	case !inside:
		os.Exit(code) // the tests have run, in the child
	}
	// The testing package exits with the result after TestMain.
	m.Run()
}

// Enter takes a program into user, network, mount and process namespaces of its
// own by running it once more there. It must be the first thing that main does.
//
// In the new process it returns inside true. In the first one it returns after
// the new one has ended, with inside false and the exit code that main has to
// pass on; until then signals are forwarded. An error says that namespaces are
// not allowed here and what would allow them.
func Enter() (inside bool, code int, err error) {
	state, rest, _ := strings.Cut(os.Getenv(envState), " ")
	switch state {
	case "setup":
		settle(strings.Contains(rest, "pid"), strings.Contains(rest, "user"))
		return true, 0, nil
	case "inside":
		id, _, _ := strings.Cut(rest, " ")
		if id == identity() {
			return true, 0, nil
		}
	case "none":
		return false, 0, errors.New(rest)
	}
	var errs []error
	for _, w := range ways() {
		code, err := again(w)
		if err == nil {
			return false, code, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", w.name, err))
	}
	return false, 0, fmt.Errorf("network namespaces are not allowed here "+
		"(run as root, or allow user namespaces: sysctl user.max_user_namespaces, "+
		"kernel.apparmor_restrict_unprivileged_userns=0): %w", errors.Join(errs...))
}

// way is one manner of getting namespaces.
type way struct {
	name  string
	flags uintptr
	one   bool // map one user only
}

func ways() []way {
	const base = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	const user, pid = syscall.CLONE_NEWUSER, syscall.CLONE_NEWPID
	if os.Getuid() != 0 {
		return []way{
			{"user and process namespace", base | user | pid, true},
			{"user namespace", base | user, true},
		}
	}
	return []way{
		{"user and process namespace, all users", base | user | pid, false},
		{"user and process namespace", base | user | pid, true},
		{"user namespace", base | user, true},
		{"root, process namespace", base | pid, false},
		{"root", base, false},
	}
}

// again runs this program inside new namespaces. An error means that it did not
// get as far as its own code.
func again(w way) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	r, pw, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	what := "setup"
	if w.flags&syscall.CLONE_NEWPID != 0 {
		what += " pid"
	}
	if w.flags&syscall.CLONE_NEWUSER != 0 {
		what += " user"
	}
	cmd := &exec.Cmd{
		Path: exe, Args: os.Args,
		Env:   append(os.Environ(), envState+"="+what),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: []*os.File{pw},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: w.flags,
			Pdeathsig:  syscall.SIGKILL,
			// A group of its own: ^C then arrives once, forwarded from here.
			Setpgid: true,
		},
	}
	if w.flags&syscall.CLONE_NEWUSER != 0 {
		a := cmd.SysProcAttr
		if w.one {
			a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		} else {
			a.UidMappings, a.GidMappings = idMap("/proc/self/uid_map"), idMap("/proc/self/gid_map")
			a.GidMappingsEnableSetgroups = true
		}
	}
	// Pdeathsig is about the thread, so this one must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sig := make(chan os.Signal, 16)
	signal.Notify(sig, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(sig)
	err = cmd.Start()
	pw.Close()
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-sig:
				_ = cmd.Process.Signal(s) // it may have ended meanwhile
			case <-ended:
				return
			}
		}
	}()
	report, _ := io.ReadAll(r)
	err = cmd.Wait()
	close(ended)
	if string(report) != "ok" {
		return 0, fmt.Errorf("%s (%v)", report, err)
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// idMap maps every id that this process can name to itself, so that a program
// which gives up root inside finds the user it wants.
func idMap(path string) (m []syscall.SysProcIDMap) {
	b, err := os.ReadFile(path)
	if err != nil {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	}
	for line := range strings.Lines(string(b)) {
		var in, out, n int
		if _, err := fmt.Sscan(line, &in, &out, &n); err == nil {
			m = append(m, syscall.SysProcIDMap{ContainerID: in, HostID: in, Size: n})
		}
	}
	return m
}

// settle makes the new namespaces usable and tells the process outside. On
// failure the process ends at once, so that no test runs twice.
func settle(pid, user bool) {
	pipe := os.NewFile(3, "netlab report")
	outer, err := furnish(pid)
	if err != nil {
		fmt.Fprint(pipe, err)
		os.Exit(1)
	}
	u := "-"
	if user {
		u = "user"
	}
	os.Setenv(envState, "inside "+identity()+" "+outer+" "+u)
	fmt.Fprint(pipe, "ok")
	pipe.Close()
}

// furnish returns the number that this process has outside.
func furnish(pid bool) (outer string, err error) {
	if outer, err = os.Readlink("/proc/self"); err != nil {
		outer = strconv.Itoa(os.Getpid())
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("make mounts private: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if pid {
		if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
			return "", fmt.Errorf("mount /proc: %w", err)
		}
	}
	// Without a fresh /sys the devices are still reachable by netlink.
	_ = unix.Mount("sysfs", "/sys", "sysfs", flags, "")
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return "", fmt.Errorf("lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return "", fmt.Errorf("set lo up: %w", err)
	}
	// The same call that a node is made with; some sandboxes forbid it.
	ns, err := newNamespace()
	if err != nil {
		return "", err
	}
	return outer, ns.Close()
}

// identity names the namespaces that a process is in, but for those that nodes
// change. A stale variable from elsewhere does not match it.
func identity() string {
	user, _ := os.Readlink("/proc/self/ns/user")
	pid, _ := os.Readlink("/proc/self/ns/pid")
	return user + pid
}

// outside tells this process's number outside the namespaces, and whether it
// takes entering a user namespace to get to it.
func outside() (pid string, user bool) {
	f := strings.Fields(os.Getenv(envState))
	if len(f) == 4 && f[0] == "inside" {
		return f[2], f[3] == "user"
	}
	return strconv.Itoa(os.Getpid()), false
}
