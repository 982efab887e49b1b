package health

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// outputGrace is how long a program's output is waited for after its end: a
// child that it left behind may hold the pipe open for ever.
const outputGrace = 100 * time.Millisecond

// exec runs the command, without a shell, in a process group of its own. Exit
// code 0 means up. At the timeout the whole group is killed.
func (p *probe) exec(ctx context.Context) Result {
	argv := p.Spec.Command
	if len(argv) == 0 || argv[0] == "" {
		return failed("check.command is empty; name the program and its arguments")
	}
	p.step = "running " + argv[0]
	var out firstBytes
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = p.environment()
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	// os/exec kills only the program itself; its children are in the group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
			return os.ErrProcessDone
		}
		return nil
	}
	cmd.WaitDelay = outputGrace
	err := cmd.Run()
	if cmd.Process != nil {
		// What it left in the background would pile up, one more each interval.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	line := out.firstLine()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return p.fault(ctx.Err())
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		if line == "" {
			line = "exit status 0"
		}
		return passed("%s", line)
	case !errors.As(err, &exit):
		return p.notStarted(err)
	case line == "":
		return failed("%v", exit) // "exit status 2", "signal: killed"
	}
	return failed("%v: %s", exit, line)
}

// notStarted tells a wrong command from a host that cannot fork just now. Here
// EPERM is the program's, not a missing capability.
func (p *probe) notStarted(err error) Result {
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return p.fault(err)
	}
	return failed("%v; check.command must name a program that the daemon may run", err)
}

// environment is all that the program sees: nothing of the daemon's own
// environment but PATH, where secrets and the service manager's sockets live.
func (p *probe) environment() []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	env := []string{
		"PATH=" + path,
		"LC_ALL=C",
		"SVM_KEY=" + p.Key,
		"SVM_VIP=" + p.Addr.Addr().String(),
		"SVM_PORT=" + strconv.Itoa(int(p.Addr.Port())),
		"SVM_MARK=" + strconv.FormatUint(uint64(p.Mark), 10),
		"SVM_SERVER=" + p.Server,
		"SVM_TIMEOUT=" + strconv.FormatFloat(p.Spec.Timeout.Seconds(), 'f', -1, 64),
	}
	if p.ServerAddr.IsValid() {
		env = append(env, "SVM_SERVER_ADDRESS="+p.ServerAddr.String())
	}
	return env
}

// firstBytes keeps the beginning of what a program prints and drops the rest,
// so that the program neither blocks nor fills the memory. os/exec writes to it
// from one goroutine because stdout and stderr are the same.
type firstBytes struct{ b []byte }

func (f *firstBytes) Write(p []byte) (int, error) {
	if room := 2*maxText - len(f.b); room > 0 {
		f.b = append(f.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (f *firstBytes) firstLine() string {
	line, _, _ := bytes.Cut(bytes.TrimLeft(f.b, "\r\n"), []byte("\n"))
	return clean(string(line))
}
