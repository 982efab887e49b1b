package station

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Strike is one fault in one session of a machine's receiver: strace injects it at the
// Nth call of Calls. strace counts by thread, so a later one may not come; Struck tells.
type Strike struct {
	Verb   string // how the session's command begins: "stage", "relay switch", "sftp"
	Calls  string // of system calls, as strace writes a set of them
	Nth    int
	Inject string // what strace does there, such as signal=KILL; empty: that
}

func (s Strike) String() string { return fmt.Sprintf("%s %s:%d", s.Verb, s.Calls, s.Nth) }

// strace are the words before the program that suffers s. What was called is written
// to log, with the files' names.
func (s Strike) strace(log string) []string {
	inject := s.Inject
	if inject == "" {
		inject = "signal=KILL"
	}
	return []string{
		// Not --seccomp-bpf: it lets faults after the first call pass (strace 6.1).
		"/usr/bin/strace", "-f", "-y", "-q", "-o", log, "-e", "trace=" + s.Calls, "-e", "signal=!SIGURG",
		"-e", fmt.Sprintf("inject=%s:%s:when=%d", s.Calls, inject, s.Nth),
	}
}

const (
	strikeFile = "/run/strike.json"
	strikeLog  = "/run/strike.%d.log"
)

// Strike has the machine's next sessions suffer these, each once; the strikes before
// are forgotten.
func (m *Machine) Strike(all ...Strike) error {
	old, err := filepath.Glob(m.Path("/run/strike.*"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return m.Wrap("svm-receiver")
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := m.Write(strikeFile, string(b), 0o644); err != nil {
		return err
	}
	return m.Wrap("svm-receiver", "/usr/local/bin/strike")
}

// Struck tells what the i-th of the machine's strikes hit; "" if nothing yet.
func (m *Machine) Struck(i int) string { return struck(m.Path(fmt.Sprintf(strikeLog, i))) }

// struck finds in a log of strace what a fault hit: the last call of the thread on
// which the process was killed, or the call that was made to fail.
func struck(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	lines := strings.Split(string(b), "\n")
	first, _, _ := strings.Cut(lines[0], " ")
	begun := map[string]string{} // by thread
	killed, last := false, ""
	for _, line := range lines {
		pid, call, _ := strings.Cut(line, " ")
		call = strings.TrimSpace(call)
		open, unfinished := strings.CutSuffix(call, "<unfinished ...>")
		switch {
		case strings.HasSuffix(call, "(INJECTED)"):
			return call
		case call == "+++ killed by SIGKILL +++":
			killed = killed || pid == first
		case strings.HasSuffix(call, "= ?"):
			if last = call; strings.HasPrefix(call, "<...") {
				last = begun[pid]
			}
		case unfinished:
			begun[pid] = open
		}
	}
	if !killed {
		return ""
	}
	return strings.Join(strings.Fields(last), " ")
}

// strike is what the wrapped receiver's unit starts: it looks which command the session
// gives, and becomes the receiver, below strace where the command has a strike to come.
func strike(argv []string) error {
	command, err := firstLine(os.Stdin)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(strikeFile)
	if err != nil {
		return err
	}
	var all []Strike
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for i, s := range all {
		if !strings.HasPrefix(command, s.Verb) {
			continue
		}
		log := fmt.Sprintf(strikeLog, i)
		f, err := os.OpenFile(log, os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue // it has come
		}
		if err != nil {
			return err
		}
		f.Close()
		argv = append(s.strace(log), argv...)
		break
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	// receive --direct takes the command from here where sshd is its parent.
	return syscall.Exec(path, argv, append(os.Environ(), "SSH_ORIGINAL_COMMAND="+command))
}

// firstLine reads no byte of what follows it.
func firstLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 64<<10; line = append(line, b[0]) {
		if _, err := r.Read(b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
	}
	return "", errors.New("the first line has no end")
}
