package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cmd is a process inside a node. Set the fields of exec.Cmd before Start; what
// goes to Stdout and Stderr is kept in the log as well. The process leads a
// group of its own and is killed with it when the lab goes.
type Cmd struct {
	*exec.Cmd
	node *Node
	log  tail
	done chan struct{} // closed when the process has ended
	err  error         // of Wait, valid after done
}

// Command prepares a process inside the node. The context's end kills it.
func (n *Node) Command(ctx context.Context, name string, args ...string) *Cmd {
	c := &Cmd{Cmd: exec.CommandContext(ctx, name, args...), node: n, done: make(chan struct{})}
	c.Cmd.Cancel = func() error { return c.Signal(exitSignal) }
	// A grandchild that holds the output open must not hold Wait up.
	c.WaitDelay = 2 * time.Second
	return c
}

// Start runs a program inside the node and ends the test when it does not start.
func (n *Node) Start(ctx context.Context, name string, args ...string) *Cmd {
	n.lab.helper()()
	c := n.Command(ctx, name, args...)
	n.lab.check(c.Start(), "%s: start %s", n.name, name)
	return c
}

// Start starts the process and returns when it runs.
func (c *Cmd) Start() error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Pdeathsig = exitSignal
	c.SysProcAttr.Setpgid = true
	c.Stdout, c.Stderr = c.tee(c.Stdout), c.tee(c.Stderr)
	l := c.node.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("netlab: the lab is closed")
	}
	started := make(chan error)
	go c.run(started)
	if err := <-started; err != nil {
		close(c.done)
		return err
	}
	l.cmds = append(l.cmds, c)
	return nil
}

// run lives as long as the process, on a thread of its own that is never given
// back: Pdeathsig counts threads, and the thread's mounts are changed for good.
func (c *Cmd) run(started chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The main thread cannot end: it would stay in the node for ever. Hold it
		// until another goroutine has found another thread.
		ready := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(ready)
			c.run(started)
		}()
		<-ready
		runtime.UnlockOSThread()
		return
	}
	err := unix.Setns(int(c.node.ns.Fd()), unix.CLONE_NEWNET)
	if err == nil {
		err = unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS)
	}
	if err == nil {
		err = unix.Sethostname([]byte(c.node.name))
	}
	if err == nil {
		// /sys/class/net shows the devices of the namespace it was mounted in.
		_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		err = c.bind()
	}
	if err == nil {
		err = c.Cmd.Start()
	}
	started <- err
	if err != nil {
		return
	}
	c.err = c.Cmd.Wait()
	close(c.done)
}

// bind runs while Start holds the lab's lock.
func (c *Cmd) bind() error {
	for _, b := range c.node.binds {
		if err := unix.Mount(b[0], b[1], "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("show %s at %s: %w", b[0], b[1], err)
		}
	}
	return nil
}

func (c *Cmd) tee(w io.Writer) io.Writer {
	if w == nil {
		return &c.log
	}
	return io.MultiWriter(w, &c.log)
}

// Wait waits for the end of the process and returns as exec.Cmd.Wait does. It
// may be called more than once.
func (c *Cmd) Wait() error {
	<-c.done
	return c.err
}

// Done is closed when the process has ended.
func (c *Cmd) Done() <-chan struct{} { return c.done }

// Run is Start and Wait; the error carries the end of the output.
func (c *Cmd) Run() error {
	_, err := c.CombinedOutput()
	return err
}

// CombinedOutput runs the process and returns the end of what it wrote, at most
// logSize bytes. The error carries it too.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	err := c.Wait()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w\n%s", c.node.name, strings.Join(c.Args, " "), err, c.Log())
	}
	return []byte(c.Log()), err
}

// Output runs the process and returns its whole standard output.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// Log returns the end of what the process wrote to stdout and stderr so far.
func (c *Cmd) Log() string { return c.log.String() }

// Signal signals the process and its group.
func (c *Cmd) Signal(s syscall.Signal) error {
	select {
	case <-c.done:
		return os.ErrProcessDone
	default:
		return unix.Kill(-c.Process.Pid, s)
	}
}

// Stop ends the process with SIGTERM; one that has not ended within the time is
// killed, which is an error, as is an exit code other than 0.
func (c *Cmd) Stop(within time.Duration) error {
	if err := c.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-time.After(within):
		c.kill()
		return fmt.Errorf("netlab: %s: %s did not end within %s of SIGTERM", c.node.name, c.Args[0], within)
	}
}

// Kill ends the process with SIGKILL and waits for its end.
func (c *Cmd) Kill() { c.kill() }

func (c *Cmd) kill() {
	_ = c.Signal(exitSignal)
	<-c.done
}

// logSize is how much of a process's output is kept, in bytes.
const logSize = 64 << 10

// tail keeps the last logSize bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - logSize; over > logSize {
		t.buf, t.cut = append(t.buf[:0], t.buf[over:]...), true
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, cut := t.buf, t.cut
	if over := len(b) - logSize; over > 0 {
		b, cut = b[over:], true
	}
	if cut {
		return "[...]" + string(b)
	}
	return string(b)
}
