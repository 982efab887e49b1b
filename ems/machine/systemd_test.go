package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// host is a machine with a systemctl that writes down what it is asked for. A unit is
// active or enabled if a file on/UNIT is there; only start, stop and the like make it.
type host struct {
	*farm
	sd *SystemdActivator
}

const standIn = `#!/bin/sh
base=$(dirname "$0")
[ -e "$base/fail-$1" ] && { echo "$1 was told to fail"; exit 1; }
[ -e "$base/hang-$1" ] && exec sleep 60
verb=$1; shift
now=; [ "$1" = --now ] && { now=" --now"; shift; }
case $verb in
is-active|is-enabled) [ -e "$base/on/$1" ]; exit;;
esac
echo $verb$now "$@" >> "$base/log"
case $verb in
start|restart|reload-or-restart) for u; do : > "$base/on/$u"; done;;
stop) rm -f "$base/on/$1";;
disable) [ -z "$now" ] || rm -f "$base/on/$1";;
esac
`

func newHost(t *testing.T, self string) *host {
	t.Helper()
	f := &farm{base: t.TempDir()}
	f.root, f.dir = filepath.Join(f.base, "host"), filepath.Join(f.base, "store")
	f.act = &fake{f: f}
	h := &host{farm: f}
	h.write(t, "bin/systemctl", standIn, 0o755)
	h.write(t, "bin/on/.keep", "", 0o600)
	h.write(t, "host/proc/sys/net/ipv4/ip_forward", "1\n", 0o644)
	h.write(t, "host/proc/sys/net/ipv4/conf/eth0.5/rp_filter", "2\n", 0o644)
	h.sd = &SystemdActivator{Root: f.root, Dir: f.dir, Self: self, CheckCommand: map[render.Kind][]string{},
		Systemctl: filepath.Join(f.base, "bin/systemctl")}
	s, err := Open(Config{Root: f.root, Dir: f.dir, Activator: h.sd})
	if err != nil {
		t.Fatal(err)
	}
	f.s = s
	return h
}

func (h *host) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	name = filepath.Join(h.base, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), mode)); err != nil {
		t.Fatal(err)
	}
}

// asked is what systemctl was asked for since the last time.
func (h *host) asked(t *testing.T, want ...string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.base, "bin/log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(h.base, "bin/log"))
	got := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(b) == 0 {
		got = nil
	}
	if !slices.Equal(got, want) {
		t.Errorf("systemctl was asked for\n%q, want\n%q", got, want)
	}
}

func (h *host) sysctl(t *testing.T, key, want string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.root, "proc/sys", key))
	if got := strings.TrimSpace(string(b)); err != nil || got != want {
		t.Errorf("%s is %q, %v, want %q", key, got, err, want)
	}
}

// stamped is generation g with files path, text, path, text...
func stamped(g uint64, kind render.Kind, files ...string) *render.Config {
	c := &render.Config{Stamp: render.Stamp{Cluster: "shop", Generation: g, Digest: fmt.Sprintf("%064x", g)}, Node: "m1", Kind: kind}
	for i := 0; i < len(files); i += 2 {
		f := render.File{Path: files[i], Mode: 0o644, Data: []byte(c.Line("m1") + files[i+1])}
		if strings.HasSuffix(f.Path, ".key") {
			f.Mode, f.Secret, f.Data = 0o600, true, []byte(files[i+1])
		}
		c.Files = append(c.Files, f)
	}
	slices.SortFunc(c.Files, func(a, b render.File) int { return strings.Compare(a.Path, b.Path) })
	return c
}

func (h *host) turn(t *testing.T, c *render.Config, verbs ...string) {
	t.Helper()
	for _, v := range verbs {
		var err error
		if v == "stage" {
			err = h.s.Stage(ctx, c, Proof{})
		} else {
			err = h.do(v, c.Generation)
		}
		if err != nil {
			t.Fatalf("%s: %v", v, err)
		}
	}
}

func director(g uint64, more ...string) *render.Config {
	files := map[string]string{
		render.ClusterFile: "cluster", "/etc/svm/ha.key": "key", render.RelayKeyFile: "relay",
		unitDir + "svm-fwd.service": "fwd", unitDir + "svm-provision.service": "provision",
		unitDir + "svm-receiver.socket": "socket", unitDir + "svm-receiver@.service": "receiver",
		render.SysctlFile: "net/ipv4/ip_forward = 0\nnet/ipv4/conf/eth0.5/rp_filter = 0\n",
	}
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	var list []string
	for p, text := range files {
		if text != "" {
			list = append(list, p, text)
		}
	}
	return stamped(g, render.Director, list...)
}

func TestSystemdDirector(t *testing.T) {
	h := newHost(t, "")
	h.write(t, "bin/on/svm-receiver.socket", "", 0o600) // since the enrolment

	first := director(1)
	h.turn(t, first, "stage")
	h.asked(t)
	h.turn(t, first, "switch")
	all := []string{
		"daemon-reload",
		"enable svm-receiver.socket svm-provision.service svm-fwd.service",
		"start svm-receiver.socket", "restart svm-provision.service", "restart svm-fwd.service",
	}
	h.asked(t, all...)
	h.sysctl(t, "net/ipv4/ip_forward", "0")
	h.sysctl(t, "net/ipv4/conf/eth0.5/rp_filter", "0")

	h.turn(t, first, "rollback")
	h.asked(t, "disable --now svm-fwd.service", "disable --now svm-provision.service", "daemon-reload")
	h.sysctl(t, "net/ipv4/ip_forward", "1")
	h.sysctl(t, "net/ipv4/conf/eth0.5/rp_filter", "2")
	if _, err := os.Stat(filepath.Join(h.dir, beforeFile)); err == nil {
		t.Error("the memory of what was before is left on a bare machine")
	}

	h.turn(t, first, "stage", "switch", "confirm")
	h.asked(t, all...)
	for i, tc := range []struct {
		name string
		more []string
		want []string
	}{
		{"only stamps", nil, nil},
		{"cluster file", []string{render.ClusterFile, "new"}, []string{"reload-or-restart svm-provision.service", "reload-or-restart svm-fwd.service"}},
		{"relay key", []string{render.ClusterFile, "new", render.RelayKeyFile, "new"}, nil},
		{"the pair's key", []string{render.ClusterFile, "new", "/etc/svm/ha.key", "new"}, []string{"restart svm-fwd.service"}},
		{"a unit", []string{unitDir + "svm-fwd.service", "new"}, []string{"daemon-reload", "enable svm-fwd.service",
			"reload-or-restart svm-provision.service", "restart svm-fwd.service"}}, // the keys are back, too
		{"a template", []string{unitDir + "svm-fwd.service", "new", unitDir + "svm-receiver@.service", "new"}, []string{"daemon-reload"}},
		{"the socket", []string{unitDir + "svm-fwd.service", "new", unitDir + "svm-receiver@.service", "new", unitDir + "svm-receiver.socket", "new"},
			[]string{"daemon-reload", "enable svm-receiver.socket", "start svm-receiver.socket"}},
		{"a unit less", []string{unitDir + "svm-fwd.service", "new", unitDir + "svm-receiver@.service", "new", unitDir + "svm-receiver.socket", "new",
			unitDir + "svm-provision.service", ""}, []string{"disable --now svm-provision.service"}},
	} {
		h.turn(t, director(uint64(i+2), tc.more...), "stage", "switch", "confirm")
		t.Log(tc.name)
		h.asked(t, tc.want...)
	}
	if _, err := os.Lstat(filepath.Join(h.root, unitDir, "svm-provision.service")); err == nil {
		t.Error("the unit that is gone is still there")
	}

	// A key that is no longer set gets its value back, but not before the confirmation.
	last := director(20, unitDir+"svm-provision.service", "", render.SysctlFile, "net/ipv4/ip_forward = 0\n")
	h.turn(t, last, "stage", "switch")
	h.sysctl(t, "net/ipv4/conf/eth0.5/rp_filter", "0")
	h.turn(t, last, "confirm")
	h.sysctl(t, "net/ipv4/conf/eth0.5/rp_filter", "2")
	h.sysctl(t, "net/ipv4/ip_forward", "0")
}

func TestSystemdRealServer(t *testing.T) {
	h := newHost(t, "svm-agent.service")
	h.write(t, "bin/on/svm-receiver.socket", "", 0o600)
	h.write(t, "bin/on/svm-agent.service", "", 0o600)
	part := func(g uint64, text string) *render.Config {
		return stamped(g, render.RealServer, render.ClusterFile, text, unitDir+"svm-rs.service", "rs "+text,
			unitDir+"svm-agent.service", "agent", unitDir+"svm-receiver.socket", "socket", render.NetworkFile, "network")
	}
	h.turn(t, part(1, "one"), "stage", "switch", "confirm")
	h.asked(t, "daemon-reload", "enable svm-receiver.socket svm-agent.service svm-rs.service",
		"try-reload-or-restart systemd-networkd.service", "start svm-receiver.socket", "reload-or-restart svm-rs.service")
	h.turn(t, part(2, "two"), "stage", "switch")
	h.asked(t, "daemon-reload", "enable svm-rs.service", "reload-or-restart svm-rs.service") // adds
	if _, err := os.Stat(filepath.Join(h.dir, "previous/root", render.ClusterFile)); err != nil {
		t.Error(err)
	}
	h.turn(t, part(2, "two"), "confirm")
	h.asked(t, "reload-or-restart svm-rs.service") // takes away
	h.turn(t, part(3, "two"), "stage", "switch", "confirm")
	h.asked(t)
}

// What the operator ran before runs again on a machine that is bare again.
func TestSystemdGivesBack(t *testing.T) {
	h := newHost(t, "")
	h.write(t, "host"+unitDir+"svm-fwd.service", "by hand", 0o644)
	h.write(t, "bin/on/svm-fwd.service", "", 0o600)
	h.turn(t, director(1), "stage", "switch")
	h.asked(t, "daemon-reload", "enable svm-receiver.socket svm-provision.service svm-fwd.service",
		"start svm-receiver.socket", "restart svm-provision.service", "restart svm-fwd.service")
	h.turn(t, director(1), "rollback")
	h.asked(t, "disable --now svm-provision.service", "daemon-reload", "restart svm-fwd.service")
	if b, _ := os.ReadFile(filepath.Join(h.root, unitDir, "svm-fwd.service")); string(b) != "by hand" {
		t.Errorf("the unit is %q", b)
	}
}

func TestSystemdFails(t *testing.T) {
	h := newHost(t, "")
	h.turn(t, director(1), "stage", "switch", "confirm")
	h.asked(t, "daemon-reload", "enable svm-receiver.socket svm-provision.service svm-fwd.service",
		"start svm-receiver.socket", "restart svm-provision.service", "restart svm-fwd.service")

	second := director(2, unitDir+"svm-fwd.service", "bad")
	h.turn(t, second, "stage")
	h.write(t, "bin/fail-restart", "", 0o600)
	err := h.s.Switch(ctx, 2)
	if err == nil || !strings.Contains(err.Error(), "systemctl restart svm-fwd.service: exit status 1: restart was told to fail") {
		t.Errorf("%v", err)
	}
	st, err := h.s.State(ctx)
	if err != nil || st.Current.Generation != 1 || st.Applied != nil || len(st.Drift) != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	os.Remove(filepath.Join(h.base, "bin/log"))
	os.Remove(filepath.Join(h.base, "bin/fail-restart"))
	if err := h.s.Recover(ctx); err != nil { // nobody knows what daemons obey: all of it once more
		t.Fatal(err)
	}
	h.asked(t, "daemon-reload", "enable svm-receiver.socket svm-provision.service svm-fwd.service",
		"start svm-receiver.socket", "restart svm-provision.service", "restart svm-fwd.service")

	h.write(t, "bin/hang-daemon-reload", "", 0o600)
	h.sd.Timeout = 50 * time.Millisecond
	if err := h.sd.systemctl(ctx, "daemon-reload"); err == nil || !strings.Contains(err.Error(), "not done within 50ms") {
		t.Errorf("%v", err)
	}
	h.sd.Timeout = 0
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := h.sd.systemctl(gone, "start", "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	h.sd.Systemctl = "/nowhere/systemctl"
	if err := h.sd.systemctl(ctx, "start", "x"); err == nil || !strings.Contains(err.Error(), "/nowhere/systemctl") {
		t.Errorf("%v", err)
	}
	t.Setenv("PATH", filepath.Join(h.base, "bin")+":"+os.Getenv("PATH"))
	h.sd.Systemctl = ""
	if err := h.sd.systemctl(ctx, "start", "by-path"); err != nil {
		t.Error(err)
	}
}

func TestSystemdCheck(t *testing.T) {
	h := newHost(t, "")
	h.write(t, "bin/check", "#!/bin/sh\necho \"$1 is bad for $2\"; grep -q fine $1\n", 0o755)
	h.sd.CheckCommand[render.Director] = []string{filepath.Join(h.base, "bin/check"), "{dir}" + render.ClusterFile, "{node}"}
	err := h.s.Stage(ctx, director(1), Proof{})
	if err == nil || !strings.Contains(err.Error(), "cluster.yaml is bad for m1") {
		t.Errorf("%v", err)
	}
	h.turn(t, director(1, render.ClusterFile, "fine"), "stage")
	if err := h.s.Stage(ctx, director(2, render.ClusterFile, "fine", render.SysctlFile, "kernel/core_pattern = |/bin/sh\n"), Proof{}); err == nil {
		t.Error("a sysctl that isn't the network's was staged")
	}
	// A device that isn't there stops the switch.
	c := director(3, render.ClusterFile, "fine", render.SysctlFile, "net/ipv4/conf/eth9/rp_filter = 0\n")
	h.turn(t, c, "stage")
	if err := h.s.Switch(ctx, 3); err == nil || !strings.Contains(err.Error(), "eth9") {
		t.Errorf("%v", err)
	}
}
