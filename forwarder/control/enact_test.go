package control

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

const dns = "  - {name: dns, vip: 192.168.1.101, protocol: udp, ports: 53, servers: [{name: eps1}]}\n"

func TestFilterThatFailsKeepsTheOldState(t *testing.T) {
	d := newDirector(t, farm)
	conns := d.open(6, web)
	snap, filter, digest := d.snap.Load(), d.outside.filter, d.Status().Digest
	full := errors.New("no memory for the filter")
	d.refuse = func(f pktio.Filter) error {
		if len(f.Addrs) > 1 {
			return full
		}
		return nil
	}
	d.write(farm + dns)
	for range 2 { // the second time, too, it is not what is in force
		if _, err := d.Reload(); !errors.Is(err, full) {
			t.Fatalf("error %v, want the filter's", err)
		}
	}
	if d.snap.Load() != snap || !slices.Equal(d.outside.filter.Addrs, filter.Addrs) || len(d.outside.guarded.VIPs) != 1 || d.Status().Digest != digest {
		t.Error("something of the refused file is in force")
	}
	d.still(conns, web)
	d.refuse = nil
	d.reload(farm + dns)
	if len(d.outside.filter.Addrs) != 2 {
		t.Error("the file is not in force although nothing is in its way any more")
	}
}

// A role that can't be taken is not held; one that is given away is gone, whatever
// fails on the way: the other director has it then.
func TestRolesWhenSomethingFails(t *testing.T) {
	bad := errors.New("no")
	never := func(pktio.Filter) error { return bad }
	t.Run("up", func(t *testing.T) {
		d := newDirector(t, farm)
		if err := d.SetRole(false); err != nil {
			t.Fatal(err)
		}
		d.refuse = func(f pktio.Filter) error {
			if len(f.Addrs) > 0 {
				return bad
			}
			return nil
		}
		if err := d.SetRole(true); !errors.Is(err, bad) {
			t.Errorf("error %v", err)
		}
		if d.snap.Load().Active || d.outside.active || len(d.outside.guarded.VIPs) != 0 || d.Status().Role != "backup" {
			t.Error("the role is held in part")
		}
		d.refuse = nil
		if err := d.SetRole(true); err != nil || !d.snap.Load().Active || !d.outside.active {
			t.Errorf("the second try: %v", err)
		}
	})
	t.Run("down", func(t *testing.T) {
		d := newDirector(t, farm)
		d.refuse = never
		if err := d.SetRole(false); !errors.Is(err, bad) {
			t.Errorf("error %v", err)
		}
		if d.snap.Load().Active || d.outside.active || len(d.outside.guarded.VIPs) != 0 || d.Status().Role != "backup" {
			t.Error("the role is still held in part")
		}
	})
	t.Run("down, guard", func(t *testing.T) {
		d := newDirector(t, farm+dns)
		d.guardErr = bad
		d.guardFails = true
		if err := d.SetRole(false); !errors.Is(err, bad) {
			t.Errorf("error %v", err)
		}
		d.guardErr, d.guardFails = nil, false
		d.reguard()
		if len(d.outside.guarded.VIPs) != 0 {
			t.Error("the VIPs are silenced for good on a backup")
		}
	})
}

// A backup that can't do what the file says keeps the old one, as the active does.
func TestGuardThatFailsOnABackup(t *testing.T) {
	d := newDirector(t, farm)
	if err := d.SetRole(false); err != nil {
		t.Fatal(err)
	}
	snap, digest := d.snap.Load(), d.Status().Digest
	d.guardErr = errors.New("the server device is down")
	d.guardFails = true
	d.write(farm + dns)
	if _, err := d.Reload(); !errors.Is(err, d.guardErr) {
		t.Fatalf("error %v, want the guard's", err)
	}
	if d.snap.Load() != snap || d.Status().Digest != digest {
		t.Error("the refused file is in force")
	}
}

// Once Run has undone everything nothing comes back, whoever asks: the election,
// an operator, a signal.
func TestNothingIsSetAfterTheEnd(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, active := range []bool{true, false} {
		d := newDirector(t, strings.Replace(farm, "    scheduler: rr\n", "    scheduler: rr\n    check: {type: tcp}\n", 1))
		if err := d.SetRole(active); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		if active { // taken while it ends, or before it began
			_ = d.SetRole(true)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		clean := func(when string) {
			t.Helper()
			if d.outside.active || len(d.outside.guarded.VIPs)+len(d.outside.guarded.Paths)+len(d.outside.filter.Addrs) != 0 {
				t.Errorf("%s: %+v, filter %v", when, d.outside.guarded, d.outside.filter)
			}
		}
		clean("after the end")
		if err := d.SetRole(false); err != nil {
			t.Error(err)
		}
		clean("after the role was given away")
		if err := d.SetRole(true); err == nil && !active {
			t.Error("the role was taken")
		}
		clean("after the role was offered")
		d.write(farm + dns)
		if _, err := d.Reload(); err == nil {
			t.Error("a cluster file was taken over")
		}
		clean("after a reload")
	}
}

// Two reloads at once: the file that was read last is the one in force.
func TestReloadsAtOnce(t *testing.T) {
	d := newDirector(t, farm)
	load := d.cfg.Load
	read, carryOn := make(chan struct{}), make(chan struct{})
	first := make(chan struct{}, 1)
	first <- struct{}{}
	d.cfg.Load = func() (*cluster.Cluster, error) {
		conf, err := load()
		select {
		case <-first:
			close(read)
			<-carryOn
		default:
		}
		return conf, err
	}
	d.write(strings.Replace(farm, "scheduler: rr", "scheduler: sed", 1))
	one, two := make(chan error, 1), make(chan error, 1)
	go func() { _, err := d.Reload(); one <- err }()
	<-read
	d.write(strings.Replace(farm, "scheduler: rr", "scheduler: nq", 1))
	go func() { _, err := d.Reload(); two <- err }()
	select { // if it does not wait for the first, it is soon done
	case err := <-two:
		two <- err
	case <-time.After(100 * time.Millisecond):
	}
	close(carryOn)
	if err := errors.Join(<-one, <-two); err != nil {
		t.Fatal(err)
	}
	if s := d.Status().Services[0].Scheduler; s != "nq" {
		t.Errorf("scheduler %s is in force, the file says nq", s)
	}
}

func TestLiveServersAreTold(t *testing.T) {
	d := newDirector(t, farm)
	got := -1
	d.cfg.OnLive = func(n int) { got = n }
	if err := d.Do(ServerAction{Service: "web", Server: "eps1", Action: "maint"}); err != nil {
		t.Fatal(err)
	}
	if got != 2 { // mail still has it
		t.Errorf("%d servers are alive", got)
	}
	if err := d.Do(ServerAction{Service: "mail", Server: "eps1", Action: "drain"}); err != nil {
		t.Fatal(err)
	}
	if got != 1 {
		t.Errorf("%d servers are alive after the drain", got)
	}
	d.reload(strings.Replace(farm, "name: mail\n    vip: 192.168.1.100\n    ports: 25\n    scheduler: rr\n    servers: [{name: eps1}, {name: eps2}]",
		"name: mail\n    vip: 192.168.1.100\n    ports: 25\n    scheduler: rr\n    servers: [{name: eps3}]", 1))
	if got != 2 {
		t.Errorf("%d servers are alive after the reload", got)
	}
}

// What a reload can't change is named, of the other director, too.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	two := strings.Replace(farm, "directors:\n", "directors:\n  - {name: eds2, client: {device: eth0, address: 192.168.1.3}, server: {device: eth1, address: 192.168.2.3}}\n", 1)
	tests := []struct{ from, to, field string }{
		{farm, strings.Replace(farm, "cluster: shop", "cluster: store", 1), "cluster"},
		{two, strings.Replace(two, "192.168.2.3}", "192.168.2.4}", 1), "directors[eds2]"},
		{two, strings.Replace(two, "device: eth1, address: 192.168.2.2}", "device: eth2, address: 192.168.2.2}", 1), "directors[eds1]"},
		{farm, two, "directors[eds2]"},
		{two, farm, "directors[eds2]"},
	}
	for _, tt := range tests {
		d := newDirector(t, tt.from)
		if r := d.reload(tt.to); !slices.Equal(r.Restart, []string{tt.field}) {
			t.Errorf("restart is said to be needed for %v, want %s", r.Restart, tt.field)
		}
	}
}
