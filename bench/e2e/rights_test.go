package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/bench/farm"
)

// TestRights runs svm-fwd the way the systemd unit does: as a user that owns
// nothing, with two capabilities and no way to more.
func TestRights(t *testing.T) {
	const nobody = 65534
	r := newRig(t, farm.Topologies()[3], 2, func(r *rig) farm.Cluster { return farm.Cluster{Services: r.WebServices("wlc")} })
	r.term(t)
	own := r.Path(r.director, "")
	left, err := filepath.Glob(filepath.Join(own, "*"))
	r.check(t, err)
	for _, file := range left {
		r.check(t, os.Remove(file))
	}
	daemon, uid := r.director.Command(context.Background(), r.Programs.FWD, r.DirectorArgs(0)...), nobody
	if err := os.Chown(own, nobody, nobody); err == nil {
		daemon.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: []uintptr{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN},
		}
	} else {
		// The user namespace of an ordinary user has no second one. The program is
		// nobody outside it, and only the capabilities inside are to be limited.
		uid = 0
		setpriv, err := exec.LookPath("setpriv")
		require(t, err)
		const two = "-all,+net_raw,+net_admin"
		daemon = r.director.Command(context.Background(), setpriv, append([]string{
			"--bounding-set", two, "--inh-caps", two, "--no-new-privs", r.Programs.FWD}, r.DirectorArgs(0)...)...)
	}
	r.check(t, daemon.Start())
	r.daemon = daemon
	r.ready(t)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", daemon.Process.Pid))
	r.check(t, err)
	want := fmt.Sprintf("CapEff:\t%016x", 1<<unix.CAP_NET_RAW|1<<unix.CAP_NET_ADMIN)
	if !strings.Contains(string(status), want) || !strings.Contains(string(status), fmt.Sprintf("Uid:\t%d", uid)) {
		t.Errorf("it does not run as user %d with %q:\n%s", uid, want, status)
	}
	each(t, func(t *testing.T, fam farm.Family) {
		for range 10 {
			if _, _, err := r.Caller(fam).Page(t.Context(), "/"); err != nil {
				t.Error(err)
			}
		}
	})
	info, err := os.Stat(filepath.Join(own, "fwd.sock"))
	r.check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, want 0600", info.Mode().Perm())
	}
	for line := range strings.Lines(daemon.Log()) {
		if !strings.Contains(line, "level=INFO") && !strings.Contains(line, "state=checking") {
			t.Errorf("it is not content: %s", line)
		}
	}
	if err := daemon.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	if err := r.Traces(r.director); err != nil {
		t.Error(err)
	}
	r.finish(t)
}
