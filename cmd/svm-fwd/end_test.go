package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
)

// routes is what a guard sets on the director.
func (f *labFarmNodes) routes() string {
	f.t.Helper()
	all := ""
	for _, what := range []string{"route", "rule"} {
		out, err := f.director.Command(f.t.Context(), "ip", "-4", what).Output()
		if err != nil {
			f.t.Fatalf("ip -4 %s (Debian: iproute2): %v", what, err)
		}
		all += string(out)
	}
	return all
}

// A SIGHUP that comes while the daemon undoes what it set must not end it half-way.
func TestHangupWhileItEnds(t *testing.T) {
	f := newLabFarm(t)
	before := f.routes()
	for range 3 {
		daemon := f.start()
		f.ready()
		stop := make(chan struct{})
		stopped := make(chan struct{})
		if err := daemon.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(stopped)
			for tick := time.NewTicker(100 * time.Microsecond); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
					_ = daemon.Signal(syscall.SIGHUP)
				}
			}
		}()
		err := daemon.Wait()
		close(stop)
		<-stopped
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
		if after := f.routes(); after != before {
			t.Fatalf("routes and rules before\n%s\nafter\n%s", before, after)
		}
	}
}

// A daemon that finds another one at work goes without touching what that one set,
// also where no table in a file tells them apart.
func TestSecondDaemonTouchesNothing(t *testing.T) {
	f := newLabFarm(t)
	text := readFile(t, f.config)
	at := strings.Index(text, "state_file: ")
	put(t, f.config, text[:at]+"state_file: none"+text[at+strings.Index(text[at:], "}"):])
	daemon := f.start()
	f.ready()
	before := f.routes()
	if !strings.Contains(before, "blackhole 192.168.1.100") {
		t.Fatalf("no guard:\n%s", before)
	}
	out, err := f.command("run", "--config", f.config, "--node", "eds1", "--socket", f.socket).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another process answers") {
		t.Errorf("the second one: %v\n%s", err, out)
	}
	if after := f.routes(); after != before {
		t.Errorf("routes and rules before\n%s\nafter\n%s", before, after)
	}
	f.get(t)
	if err := daemon.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	netlab.Eventually(t, time.Second, func() bool { return !strings.Contains(f.routes(), "blackhole") }, "the guard is undone")
}
