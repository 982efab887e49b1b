package station

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one that runs on a machine.
type Process struct {
	PID  int
	Args string // its command line, with spaces
	Env  string // with newlines
}

// Processes are the machine's, init's own children included, by what /proc says.
func (m *Machine) Processes() (all []Process) {
	if m.init == nil {
		return nil
	}
	home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", m.init.Process.Pid))
	if err != nil {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is fine
	for _, d := range dirs {
		// One that ends meanwhile has nothing to read.
		if ns, err := os.Readlink(d + "/ns/net"); err != nil || ns != home {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile(d + "/cmdline")
		env, _ := os.ReadFile(d + "/environ")
		all = append(all, Process{pid,
			strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " ")), strings.ReplaceAll(string(env), "\x00", "\n")})
	}
	return all
}

// kill kills the process group of the machine's process whose command line has that in
// it, as soon as there is one, and returns the command line; "" if none came.
func (m *Machine) kill(what string) string {
	for range 500 {
		for _, p := range m.Processes() {
			if strings.Contains(p.Args, what) {
				if syscall.Kill(-p.PID, syscall.SIGKILL) == nil {
					return "SIGKILL " + p.Args
				}
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return ""
}
