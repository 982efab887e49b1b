package station

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// service is one running service unit. Obeyed are Type= (simple, exec, notify,
// oneshot), RemainAfterExit=, ExecStartPre=, ExecStart=, ExecReload=, ExecStop=,
// ExecStopPost=, Restart=, RestartSec=, RuntimeDirectory=, StateDirectory=,
// Environment= and StandardInput=socket.
type service struct {
	m    *manager
	name string
	u    unit

	mu      sync.Mutex
	cmd     *exec.Cmd
	up      bool
	stopped bool // by request: no restart
	ended   chan struct{}
}

func newService(m *manager, name string, u unit) *service {
	return &service{m: m, name: name, u: u}
}

func (s *service) isActive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

func (s *service) key(key string) string { return s.u.last("Service", key) }

// start returns when the unit counts as started: a oneshot has ended, a notify has
// said so.
func (s *service) start(conn *os.File) error {
	for _, kind := range []struct{ key, in string }{{"RuntimeDirectory", "/run"}, {"StateDirectory", "/var/lib"}} {
		for _, d := range strings.Fields(s.key(kind.key)) {
			if err := os.MkdirAll(filepath.Join(kind.in, d), 0o755); err != nil {
				return err
			}
		}
	}
	for _, line := range s.u.all("Service", "ExecStartPre") {
		if err := s.run(line, nil); err != nil {
			return errors.Join(fmt.Errorf("ExecStartPre: %w", err), s.after())
		}
	}
	if s.key("Type") == "oneshot" {
		for _, line := range s.u.all("Service", "ExecStart") {
			if err := s.run(line, nil); err != nil {
				return errors.Join(err, s.after())
			}
		}
		s.mu.Lock()
		s.up = s.key("RemainAfterExit") == "yes"
		s.mu.Unlock()
		return nil
	}
	return s.spawn(conn)
}

func (s *service) spawn(conn *os.File) error {
	cmd, err := s.command(s.key("ExecStart"), true)
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	cmd.Stdout = os.Stderr
	if conn != nil && s.key("StandardInput") == "socket" {
		cmd.Stdin, cmd.Stdout = conn, conn
		if s.key("StandardOutput") == "journal" {
			cmd.Stdout = os.Stderr
		}
	}
	ready := make(chan struct{})
	if s.key("Type") == "notify" {
		path := fmt.Sprintf("/run/notify-%s-%d", s.name, time.Now().UnixNano())
		pc, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			return err
		}
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path)
		go func() {
			var once sync.Once
			b := make([]byte, 4096)
			for {
				n, err := pc.Read(b)
				if err != nil {
					return
				}
				if strings.Contains(string(b[:n]), "READY=1") {
					once.Do(func() { close(ready) })
				}
			}
		}()
		defer func() { // later messages are of no interest
			pc.Close()
			os.Remove(path)
		}()
	} else {
		close(ready)
	}
	ended := make(chan struct{})
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return errors.New("stopped before it began")
	}
	if err := cmd.Start(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.cmd, s.ended, s.up = cmd, ended, true
	s.mu.Unlock()
	s.m.wg.Go(func() { s.watch(cmd, ended) })
	select {
	case <-ready:
		return nil
	case <-ended:
		return errors.New("it ended before it was ready")
	case <-time.After(startWithin):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the watcher sees its end
		return errors.New("it did not get ready in time")
	}
}

// watch waits for the main process, cleans up after it, and starts it again where
// the unit says so.
func (s *service) watch(cmd *exec.Cmd, ended chan struct{}) {
	err := cmd.Wait()
	// The rest of the control group goes with it, as under systemd.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if e := s.after(); e != nil {
		fmt.Fprintf(os.Stderr, "init: %s: ExecStopPost: %v\n", s.name, e)
	}
	s.mu.Lock()
	s.up = false
	stopped := s.stopped
	s.mu.Unlock()
	close(ended)
	restart := s.key("Restart")
	again := !stopped && (restart == "always" || restart == "on-failure" && err != nil)
	if !again {
		if strings.Contains(s.name, "@") {
			s.m.forget(s)
		}
		return
	}
	pause, _ := time.ParseDuration(cmp.Or(s.key("RestartSec"), "100ms"))
	select {
	case <-s.m.ctx.Done():
		return
	case <-time.After(pause):
	}
	if err := s.start(nil); err != nil {
		fmt.Fprintf(os.Stderr, "init: %s again: %v\n", s.name, err)
	}
}

func (s *service) stop() {
	s.mu.Lock()
	s.stopped = true
	cmd, ended, up := s.cmd, s.ended, s.up
	s.up = false
	s.mu.Unlock()
	if !up {
		return
	}
	for _, line := range s.u.all("Service", "ExecStop") {
		if err := s.run(line, nil); err != nil {
			fmt.Fprintf(os.Stderr, "init: %s: ExecStop: %v\n", s.name, err)
		}
	}
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
}

func (s *service) reload(u unit) error {
	s.mu.Lock()
	env := []string{}
	if s.cmd != nil {
		env = append(env, "MAINPID="+strconv.Itoa(s.cmd.Process.Pid))
	}
	s.mu.Unlock()
	for _, line := range u.all("Service", "ExecReload") {
		if err := s.run(line, env); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) after() error {
	var errs []error
	for _, line := range s.u.all("Service", "ExecStopPost") {
		errs = append(errs, s.run(line, nil))
	}
	return errors.Join(errs...)
}

func (s *service) run(line string, env []string) error {
	mayFail := strings.HasPrefix(line, "-")
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		line = strings.ReplaceAll(line, "$"+k, v)
	}
	cmd, err := s.command(line, false)
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	os.Stderr.Write(out)
	if err != nil && !mayFail {
		return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// command prepares a line of a unit; no shell, no quotes: SVM's units have none.
func (s *service) command(line string, main bool) (*exec.Cmd, error) {
	line = strings.NewReplacer("%i", instanceOf(s.name), "%n", s.name).Replace(line)
	words := strings.Fields(strings.TrimLeft(line, "-+!:@"))
	if len(words) == 0 {
		return nil, errors.New("an empty command")
	}
	if main {
		words = append(wrap(s.name), words...)
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = os.Environ()
	for _, e := range s.u.all("Service", "Environment") {
		cmd.Env = append(cmd.Env, strings.Fields(e)...)
	}
	return cmd, nil
}

func instanceOf(name string) string {
	_, rest, ok := strings.Cut(name, "@")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, filepath.Ext(rest))
}

// wrap are the words of wrapFile for the unit.
func wrap(name string) []string {
	b, err := os.ReadFile(wrapFile)
	if err != nil {
		return nil
	}
	var by map[string][]string
	if json.Unmarshal(b, &by) != nil {
		return nil
	}
	base, _, _ := strings.Cut(strings.TrimSuffix(name, ".service"), "@")
	return by[base]
}
