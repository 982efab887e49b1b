package ha

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

type track struct {
	delta int
	fault bool
}

// SetTrack sets what the tracked thing called name does to this director: delta
// is added to the priority; with fault the role is given away and not taken
// until the fault goes. 0 and false forget it. It waits for Run to have begun.
func (r *Runner) SetTrack(name string, delta int, fault bool) error {
	return r.do(func() { r.setTrack(name, track{delta, fault}) })
}

func (r *Runner) setTrack(name string, t track) {
	if r.tracks[name] == t {
		return
	}
	if r.tracks[name] = t; t == (track{}) {
		delete(r.tracks, name)
	}
	r.log.Info("ha: track", "name", name, "delta", t.delta, "fault", t.fault)
	var sum Track
	var faults []string
	var list []TrackStatus
	for n, t := range r.tracks {
		sum.Delta += t.delta
		if t.fault {
			faults = append(faults, n)
		}
		list = append(list, TrackStatus{n, t.delta, t.fault})
	}
	slices.Sort(faults)
	slices.SortFunc(list, func(a, b TrackStatus) int { return strings.Compare(a.Name, b.Name) })
	sum.Fault = strings.Join(faults, ", ")
	r.mu.Lock()
	r.st.Tracks = list
	r.mu.Unlock()
	r.step(sum)
}

// pollLinks looks at the devices: a cut cable is seen within one interval, at
// most half a second.
func (r *Runner) pollLinks() {
	var down [maxPaths]bool
	for i := range r.paths {
		if up, err := r.tr.linkUp(i); err != nil || !up {
			down[r.paths[i].link] = true
		}
	}
	for i := range r.cfg.Links {
		t := track{}
		switch {
		case down[i] && r.cfg.LinkDownDelta != 0:
			t.delta = r.cfg.LinkDownDelta
		case down[i]:
			t.fault = true
		}
		r.setTrack("link "+r.cfg.Links[i].Device, t)
	}
}

// Script is a command whose failure (exit code, or no end in time) lowers the
// priority or gives the role away.
type Script struct {
	Name     string
	Command  []string      // no shell
	Interval time.Duration // 0: 2 s
	Timeout  time.Duration // 0: 1 s; its processes are killed then
	Fall     int           // failures in a row until it counts as failed; 0: 1
	Rise     int           // successes in a row until it is good again; 0: 1
	Delta    int           // added to the priority while it fails; 0: the role is given away
}

func (s *Script) check() error {
	if s.Name == "" || len(s.Command) == 0 {
		return errors.New("ha: a script needs a name and a command")
	}
	if s.Interval < 0 || s.Timeout < 0 || s.Rise < 0 || s.Fall < 0 {
		return fmt.Errorf("ha: script %s: negative interval, timeout, rise or fall", s.Name)
	}
	return nil
}

// runScript runs a script until ctx ends. It counts as good until it failed.
func (r *Runner) runScript(ctx context.Context, s *Script) {
	interval, timeout := s.Interval, s.Timeout
	if interval == 0 {
		interval = 2 * time.Second
	}
	if timeout == 0 {
		timeout = time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	good, row := true, 0
	for {
		out, err := command(ctx, timeout, s.Command, nil, nil)
		if ctx.Err() != nil {
			return
		}
		need := max(s.Fall, 1)
		if !good {
			need = max(s.Rise, 1)
		}
		if row++; (err == nil) == good {
			row = 0
		}
		if row >= need {
			good, row = !good, 0
			t := track{}
			if !good {
				r.log.Warn("ha: script failed", "name", s.Name, "err", err, "output", out)
				t = track{s.Delta, s.Delta == 0}
			}
			if r.do(func() { r.setTrack("script "+s.Name, t) }) != nil {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// command runs a program for at most timeout, then kills it with all that it
// started in its process group. It returns the end of its output.
func command(ctx context.Context, timeout time.Duration, argv, env []string, stdin []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 100 * time.Millisecond
	cmd.Env = env
	cmd.Stdin = strings.NewReader(string(stdin))
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("not done within %v: %w", timeout, err)
	}
	return strings.TrimSpace(string(out)), err
}

// tail keeps the last 200 bytes.
type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b...)
	if len(*t) > 200 {
		*t = append((*t)[:0], (*t)[len(*t)-200:]...)
	}
	return len(b), nil
}
