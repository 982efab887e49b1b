package station

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The farm goes from nothing to serving by the floppy alone, and to the very same
// files as by a push.
func TestFloppy(t *testing.T) {
	tools(t, "fsck.fat", "mdir")
	f := newFarm(t, 2)
	check(t, f.Init(t.Context(), f.ClusterText("rr", nil, "")))
	check(t, f.Enroll(t.Context()))
	for _, path := range []string{"/root/floppy.img", "/root/again.img"} {
		out, err := f.Ems(t.Context(), "image", "write", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(strings.TrimSpace(out))
	}
	img, err := os.ReadFile(f.EMS.Path("/root/floppy.img"))
	check(t, err)
	again, err := os.ReadFile(f.EMS.Path("/root/again.img"))
	check(t, err)
	if len(img) != 1474560 || string(img) != string(again) {
		t.Errorf("images of %d and %d bytes are not the same 1.44 MB", len(img), len(again))
	}
	for _, argv := range [][]string{{"fsck.fat", "-n"}, {"mdir", "-i"}} {
		out, err := exec.Command(argv[0], append(argv[1:], f.EMS.Path("/root/floppy.img"))...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", argv, err, out)
		}
		t.Logf("%s\n%s", argv[0], out)
	}

	// The station is off from here on: somebody carries the floppy.
	check(t, f.EMS.Off())
	for _, m := range f.EDS {
		check(t, m.Write("/root/floppy.img", string(img), 0o600))
		out, err := m.Run(t.Context(), "svm-fwd", "firstboot", "--medium", "/root/floppy.img")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s\n%s", m.Name(), out)
	}
	check(t, f.Serving(t.Context()))
	v := f.Visit(t.Context(), 2)
	byFloppy := f.sameGeneration(t)
	files := map[string]map[string]string{}
	for _, m := range f.Machines() {
		files[m.Name()], err = m.delivered()
		check(t, err)
	}
	// Once more it changes nothing.
	out, err := f.EDS[0].Run(t.Context(), "svm-fwd", "firstboot", "--medium", "/root/floppy.img")
	if err != nil || !strings.Contains(out, "nothing to do") {
		t.Errorf("the same floppy again: %q, %v", out, err)
	}
	if n, err := v.Leave(); err != nil || n == 0 {
		t.Errorf("%d requests: %v", n, err)
	}

	// The same machines bare once more, and the same generation by push.
	check(t, f.EMS.Boot(t.Context()))
	for _, m := range f.Machines() {
		check(t, m.Off())
		check(t, m.forget())
		check(t, m.Boot(t.Context()))
		check(t, f.EnrollOne(t.Context(), m))
	}
	if out, err = f.Ems(t.Context(), "push"); err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	check(t, f.Serving(t.Context()))
	if byPush := f.sameGeneration(t); byPush != byFloppy {
		t.Errorf("generation %d by floppy, %d by push", byFloppy, byPush)
	}
	for _, m := range f.Machines() {
		now, err := m.delivered()
		check(t, err)
		if d := different(files[m.Name()], now); len(d) > 0 {
			t.Errorf("%s: not the same by floppy and by push: %v", m.Name(), d)
		}
		if len(now) < 5 {
			t.Errorf("%s has only %d files", m.Name(), len(now))
		}
	}
}

// forget takes all of SVM's configuration off a machine that is off, but for the keys
// that it is known by.
func (m *Machine) forget() error {
	for _, pattern := range []string{
		"/var/lib/svm*", "/var/lib/private", "/etc/svm/*", unitDir + "/svm-*", unitDir + "/*.wants/svm-*", "/etc/sysctl.d/*svm*", "/etc/systemd/network/*svm*",
	} {
		found, err := filepath.Glob(m.Path(pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if name := filepath.Base(path); name != "station.pub" && name != "machine.key" {
				if err := os.RemoveAll(path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
