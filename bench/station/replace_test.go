package station

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

// A web server dies, disk and all. Another machine in its place, with its Ethernet
// address and what every new server of this farm is installed with, is in service
// again by itself, while the station is off.
func TestReplacedServer(t *testing.T) {
	f := newFarm(t, 2)
	check(t, f.Init(t.Context(), f.ClusterText("rr", nil, "")))
	check(t, f.Enroll(t.Context()))
	if _, err := f.Ems(t.Context(), "push"); err != nil {
		t.Fatal(err)
	}
	check(t, f.Serving(t.Context()))
	want := f.sameGeneration(t)
	token, err := f.Ems(t.Context(), "token")
	check(t, err)
	check(t, f.EMS.Off())

	dead := f.EPS[0]
	before, err := dead.delivered()
	check(t, err)
	check(t, dead.Off())
	check(t, dead.Wipe(f.Programs))
	check(t, dead.InstallWeb())
	dead.LinkDown("eth0")
	check(t, f.Lacking(t.Context(), "web on eps1 is down"))
	for _, a := range f.ServerNet.Host(f.Families, farm.ServerHost) {
		dead.AddrDel("eth0", a)
	}
	for _, key := range []string{"arp_ignore", "arp_announce"} {
		dead.Sysctl("net.ipv4.conf.eth0."+key, "0")
		dead.Sysctl("net.ipv4.conf.all."+key, "0")
	}

	began := time.Now()
	dead.LinkUp("eth0")
	check(t, dead.Boot(t.Context()))
	if _, err := dead.Run(t.Context(), "svm-rs", "enroll", "--user", "root", strings.TrimSpace(token)); err != nil {
		t.Fatal(err)
	}
	check(t, f.EnableBase(t.Context(), dead))
	check(t, f.Serving(t.Context()))
	t.Logf("in service again %.1f s after the new machine was switched on", time.Since(began).Seconds())
	if got := f.sameGeneration(t); got != want {
		t.Errorf("generation %d, want %d", got, want)
	}
	after, err := dead.delivered()
	check(t, err)
	if d := different(before, after); len(d) > 0 {
		t.Errorf("not what the old machine had: %v", d)
	}
	v := f.Visit(t.Context(), 2)
	wait, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	check(t, farm.Await(wait, func() bool { return v.Served(dead.Name()) >= 20 }))
	if n, err := v.Leave(); err != nil || v.Served(dead.Name()) < 20 {
		t.Errorf("%d requests, %d by the new machine: %v", n, v.Served(dead.Name()), err)
	}
}

// Directors and the station die, one after the other, disks and all. The active
// director comes back from the medium that lies in a drawer, without the station, which
// comes back from its backup; nobody outside notices.
func TestReplacedDirectorAndStation(t *testing.T) {
	f := newFarm(t, 2)
	check(t, f.Init(t.Context(), f.ClusterText("rr", nil, "")))
	check(t, f.Enroll(t.Context()))
	if _, err := f.Ems(t.Context(), "push"); err != nil {
		t.Fatal(err)
	}
	check(t, f.Serving(t.Context()))
	want := f.sameGeneration(t)
	token, err := f.Ems(t.Context(), "token")
	check(t, err)
	const phrase = "correct horse battery staple"
	check(t, f.EMS.Write("/root/phrase", phrase+"\n", 0o600))
	for _, args := range [][]string{
		{"image", "write", "--passphrase-file", "/root/phrase", "/root/floppy.img"},
		{"backup", "--passphrase-file", "/root/phrase", "/root/backup"},
	} {
		if _, err := f.Ems(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	floppy, err := f.EMS.read("/root/floppy.img")
	check(t, err)
	backup, err := f.EMS.read("/root/backup")
	check(t, err)
	check(t, f.EMS.Off())

	v := f.Visit(t.Context(), 2)
	dead := f.EDS[0]
	check(t, dead.Off())
	check(t, dead.Wipe(f.Programs))
	check(t, dead.Boot(t.Context()))
	line, err := dead.Run(t.Context(), "svm-fwd", "enroll", "--user", "root", strings.TrimSpace(token))
	check(t, err)
	check(t, f.EnableBase(t.Context(), dead))
	check(t, dead.Write("/root/floppy.img", floppy, 0o600))
	// Its own key is new: only the passphrase opens the secrets.
	if out, err := dead.Run(t.Context(), "svm-fwd", "firstboot", "--medium", "/root/floppy.img"); err == nil {
		t.Errorf("without the passphrase: %s", out)
	}
	check(t, dead.Write("/root/phrase", phrase+"\n", 0o600))
	out, err := dead.Run(t.Context(), "svm-fwd", "firstboot", "--medium", "/root/floppy.img", "--passphrase-file", "/root/phrase")
	check(t, err)
	t.Log(out)
	check(t, f.Serving(t.Context()))
	if got := f.sameGeneration(t); got != want {
		t.Errorf("generation %d, want %d", got, want)
	}
	if n, err := v.Leave(); err != nil || n == 0 {
		t.Errorf("%d requests: %v", n, err)
	} else {
		t.Logf("%d requests while the active director died and came back, none failed", n)
	}

	check(t, f.EMS.Wipe(f.Programs))
	check(t, f.EMS.Boot(t.Context()))
	check(t, f.EMS.Write("/root/backup", backup, 0o600))
	check(t, f.EMS.Write("/root/phrase", phrase+"\n", 0o600))
	if _, err := f.Ems(t.Context(), "restore", "--passphrase-file", "/root/phrase", "/root/backup"); err != nil {
		t.Fatal(err)
	}
	// The new director has other keys, which the station must be told of.
	if out, err := f.Ems(t.Context(), "push"); err == nil || !strings.Contains(err.Error(), "HOST KEY HAS CHANGED") {
		t.Errorf("a director with another host key: %s %v", out, err)
	}
	if _, err := f.Ems(t.Context(), "enroll", "--replace", strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	v = f.Visit(t.Context(), 2)
	if out, err = f.Ems(t.Context(), "push", "-m", "eds1 was replaced"); err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	if got := f.sameGeneration(t); got <= want {
		t.Errorf("generation %d, want one above %d", got, want)
	}
	if n, err := v.Leave(); err != nil || n == 0 {
		t.Errorf("%d requests: %v", n, err)
	}
}
