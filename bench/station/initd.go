package station

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	envInit    = "SVM_STATION_INIT"
	initSocket = "/run/init.sock"
	// WrapFile may hold a JSON object: for a unit's name (up to its @) the words that
	// go before its ExecStart, such as strace with an injected fault.
	wrapFile = "/run/wrap.json"
)

// Reborn tells whether this process was started as a machine's init, its systemctl
// or its web server. It returns when that is over.
func Reborn() bool {
	switch {
	case filepath.Base(os.Args[0]) == "systemctl":
		os.Exit(systemctl(os.Args[1:]))
	case filepath.Base(os.Args[0]) == "strike":
		fmt.Fprintln(os.Stderr, "strike:", strike(os.Args[1:]))
		os.Exit(1)
	case os.Getenv(envInit) != "":
		os.Unsetenv(envInit)
		if err := initd(); err != nil {
			fmt.Fprintln(os.Stderr, "init:", err)
			os.Exit(1)
		}
		return true
	}
	return false
}

type request struct{ Args []string }

type reply struct {
	Code int
	Text string
}

// systemctl hands its arguments to the machine's init.
func systemctl(args []string) int {
	r := ask(initSocket, args)
	fmt.Print(r.Text)
	return r.Code
}

func ask(socket string, args []string) reply {
	var r reply
	c, err := net.Dial("unix", socket)
	if err == nil {
		defer c.Close()
		if err = json.NewEncoder(c).Encode(request{args}); err == nil {
			err = json.NewDecoder(c).Decode(&r)
		}
	}
	if err != nil {
		r = reply{1, "systemctl: " + err.Error() + "\n"}
	}
	return r
}

// manager is the stand-in for systemd.
type manager struct {
	ctx      context.Context
	mu       sync.Mutex
	services map[string]*service
	sockets  map[string]net.Listener
	next     int // instance of a socket's service
	wg       sync.WaitGroup
}

// initd boots the machine and runs until SIGTERM, which powers it off.
func initd() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ln, err := net.Listen("unix", initSocket)
	if err != nil {
		return err
	}
	defer ln.Close()
	m := &manager{ctx: ctx, services: map[string]*service{}, sockets: map[string]net.Listener{}}
	for _, name := range enabled() {
		if err := m.start(name); err != nil {
			fmt.Fprintf(os.Stderr, "init: %s: %v\n", name, err)
		}
	}
	go func() {
		<-ctx.Done()
		ln.Close()
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			break
		}
		go m.answer(c)
	}
	m.mu.Lock()
	for _, s := range m.sockets {
		s.Close()
	}
	all := make([]*service, 0, len(m.services))
	for _, s := range m.services {
		all = append(all, s)
	}
	m.mu.Unlock()
	for _, s := range all {
		s.stop()
	}
	m.wg.Wait()
	return nil
}

func (m *manager) answer(c net.Conn) {
	defer c.Close()
	var q request
	if json.NewDecoder(c).Decode(&q) != nil {
		return
	}
	var text strings.Builder
	code := m.obey(&text, q.Args)
	_ = json.NewEncoder(c).Encode(reply{code, text.String()}) // a client that went away
}

// obey is systemctl's command line, as far as SVM uses it.
func (m *manager) obey(out io.Writer, args []string) int {
	now := false
	var words []string
	for _, a := range args {
		switch {
		case a == "--now":
			now = true
		case strings.HasPrefix(a, "-"):
		default:
			words = append(words, a)
		}
	}
	if len(words) == 0 {
		fmt.Fprintln(out, "systemctl: no verb")
		return 1
	}
	verb, units := words[0], words[1:]
	code := 0
	for i, name := range units {
		if filepath.Ext(name) == "" {
			units[i] = name + ".service"
		}
	}
	switch verb {
	case "daemon-reload":
		return 0 // unit files are read afresh at each start
	case "list-units": // only their names
		m.mu.Lock()
		defer m.mu.Unlock()
		for name := range m.services {
			fmt.Fprintln(out, name)
		}
		return 0
	}
	for _, name := range units {
		var err error
		switch verb {
		case "enable":
			if err = enable(name); err == nil && now {
				err = m.start(name)
			}
		case "disable":
			if err = disable(name); err == nil && now {
				err = m.stop(name)
			}
		case "start":
			err = m.start(name)
		case "stop":
			err = m.stop(name)
		case "restart":
			if err = m.stop(name); err == nil {
				err = m.start(name)
			}
		case "try-restart":
			if m.active(name) {
				if err = m.stop(name); err == nil {
					err = m.start(name)
				}
			}
		case "reload", "reload-or-restart", "try-reload-or-restart":
			err = m.reload(name, verb)
		case "reset-failed":
		case "is-active":
			if m.active(name) {
				fmt.Fprintln(out, "active")
			} else {
				fmt.Fprintln(out, "inactive")
				code = 3
			}
		case "is-enabled":
			if links, _ := filepath.Glob(filepath.Join(unitDir, "*.wants", name)); len(links) == 0 {
				fmt.Fprintln(out, "disabled")
				code = 1
			} else {
				fmt.Fprintln(out, "enabled")
			}
		default:
			err = fmt.Errorf("unknown verb %q", verb)
		}
		if err != nil {
			fmt.Fprintf(out, "systemctl %s %s: %v\n", verb, name, err)
			code = 1
		}
	}
	return code
}

func (m *manager) active(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.services[name]; ok {
		return s.isActive()
	}
	_, ok := m.sockets[name]
	return ok
}

func (m *manager) start(name string) error {
	u, err := loadUnit(name)
	if err != nil {
		return err
	}
	for _, path := range u.all("Unit", "ConditionPathExists") {
		not := strings.HasPrefix(path, "!")
		if _, err := os.Stat(strings.TrimPrefix(path, "!")); (err == nil) == not {
			return nil // as systemd: a condition that does not hold is no failure
		}
	}
	if strings.HasSuffix(name, ".socket") {
		return m.listen(name, u)
	}
	m.mu.Lock()
	s := m.services[name]
	if s != nil && s.isActive() {
		m.mu.Unlock()
		return nil
	}
	old := s
	s = newService(m, name, u)
	m.services[name] = s
	m.mu.Unlock()
	if old != nil {
		old.stop() // it may be about to start again by itself
	}
	return s.start(nil)
}

func (m *manager) stop(name string) error {
	m.mu.Lock()
	s, ln := m.services[name], m.sockets[name]
	delete(m.services, name)
	delete(m.sockets, name)
	m.mu.Unlock()
	if s != nil {
		s.stop()
	}
	if ln != nil {
		return ln.Close()
	}
	return nil
}

func (m *manager) reload(name, verb string) error {
	m.mu.Lock()
	s := m.services[name]
	m.mu.Unlock()
	if s == nil || !s.isActive() {
		if verb == "reload-or-restart" {
			return m.start(name)
		}
		if verb == "reload" {
			return fmt.Errorf("it is not active")
		}
		return nil
	}
	u, err := loadUnit(name)
	if err != nil {
		return err
	}
	if len(u.all("Service", "ExecReload")) == 0 {
		if verb == "reload" {
			return fmt.Errorf("it has no ExecReload")
		}
		if err := m.stop(name); err != nil {
			return err
		}
		return m.start(name)
	}
	return s.reload(u)
}

// listen opens a socket unit with Accept=yes; each connection gets an instance.
func (m *manager) listen(name string, u unit) error {
	path := u.last("Socket", "ListenStream")
	if path == "" || u.last("Socket", "Accept") != "yes" {
		return fmt.Errorf("only ListenStream= with Accept=yes is known here")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sockets[name] != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	_ = os.Remove(path) // of the last boot
	ln, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := lend(path, u); err != nil {
		ln.Close()
		return err
	}
	m.sockets[name] = ln
	m.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			m.instance(strings.TrimSuffix(name, ".socket"), c.(*net.UnixConn))
		}
	})
	return nil
}

func (m *manager) instance(prefix string, c *net.UnixConn) {
	defer c.Close()
	f, err := c.File()
	if err != nil {
		return
	}
	defer f.Close()
	m.mu.Lock()
	m.next++
	name := fmt.Sprintf("%s@%d.service", prefix, m.next)
	m.mu.Unlock()
	u, err := loadUnit(name)
	if err == nil {
		s := newService(m, name, u)
		m.mu.Lock()
		m.services[name] = s
		m.mu.Unlock()
		err = s.start(f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "init: %s: %v\n", name, err)
	}
}

// forget drops an instance that has ended.
func (m *manager) forget(s *service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.services[s.name] == s {
		delete(m.services, s.name)
	}
}

const startWithin = 20 * time.Second
