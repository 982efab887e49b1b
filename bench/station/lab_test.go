package station

import (
	"strings"
	"testing"
)

// The machines are what they are taken for: own disks, own names, sshd that lets
// nobody in, units that run.
func TestBareMachines(t *testing.T) {
	f := newFarm(t, 2)
	for _, m := range f.Machines() {
		out, err := m.Command(t.Context(), "/bin/hostname").Output()
		if err != nil || strings.TrimSpace(string(out)) != m.Name() {
			t.Errorf("%s calls itself %q, %v", m.Name(), out, err)
		}
		out, err = m.Command(t.Context(), "/usr/bin/ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "root@127.0.0.1", "true").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Permission denied") {
			t.Errorf("%s lets root in: %s %v", m.Name(), out, err)
		}
	}
	if out, err := f.EPS[0].Run(t.Context(), "systemctl", "is-active", "web"); err != nil {
		t.Error(out, err)
	}
	if out, err := f.EDS[0].Run(t.Context(), "systemctl", "is-active", "web"); err == nil {
		t.Error("a director runs a web server:", out)
	}
}
