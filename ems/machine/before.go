package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/render"
)

const beforeFile = "before.json"

// before is what the host was like without us.
type before struct {
	Sysctls map[string]string     `json:"sysctls,omitempty"` // of keys that a generation sets
	Units   map[string]unitBefore `json:"units,omitempty"`   // of units that a generation has
}

type unitBefore struct {
	Enabled bool `json:"enabled,omitempty"`
	Active  bool `json:"active,omitempty"`
}

func (a *SystemdActivator) loadBefore() (*before, error) {
	b := &before{Sysctls: map[string]string{}, Units: map[string]unitBefore{}}
	p, err := openPlace(a.Dir)
	if err != nil {
		return nil, err
	}
	defer p.close()
	data, err := p.read(beforeFile, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("%s is damaged: move it away (the host's own sysctl values are then not restored): %w", p.path(beforeFile), err)
	}
	return b, nil
}

func (a *SystemdActivator) saveBefore(b *before) error {
	p, err := openPlace(a.Dir)
	if err != nil {
		return err
	}
	defer p.close()
	if len(b.Sysctls)+len(b.Units) == 0 {
		return p.drop(beforeFile)
	}
	data, err := json.MarshalIndent(b, "", "\t")
	if err != nil {
		return err
	}
	return p.replace(beforeFile, append(data, '\n'), attr{mode: 0o600, uid: -1, gid: -1})
}

// noteUnits notes, of units that are new with now, whether they ran before.
func (a *SystemdActivator) noteUnits(ctx context.Context, b *before, now *render.Manifest) error {
	noted := false
	for _, u := range unitsOf(now) {
		if _, known := b.Units[u]; known {
			continue
		}
		b.Units[u] = unitBefore{
			Enabled: a.systemctl(ctx, "is-enabled", u) == nil,
			Active:  a.systemctl(ctx, "is-active", u) == nil,
		}
		noted = true
	}
	if !noted {
		return nil
	}
	return a.saveBefore(b)
}

// stopAll stops and disables the units of old that didn't run before the first
// generation. What receives configuration stays: the machine must hear of the next one.
func (a *SystemdActivator) stopAll(ctx context.Context, old *render.Manifest) error {
	b, err := a.loadBefore()
	if err != nil {
		return err
	}
	var errs []error
	for _, u := range slices.Backward(unitsOf(old)) {
		was := b.Units[u]
		switch {
		case u == receiverUnit || u == a.Self || !a.isThere(u):
		case !was.Active && !was.Enabled:
			errs = append(errs, a.systemctl(ctx, "disable", "--now", u))
		case !was.Active:
			errs = append(errs, a.systemctl(ctx, "stop", u))
		case !was.Enabled:
			errs = append(errs, a.systemctl(ctx, "disable", u))
		}
	}
	return errors.Join(errs...)
}

// leaveBare has systemd forget our units, and those that ran before run as they did.
func (a *SystemdActivator) leaveBare(ctx context.Context) error {
	b, err := a.loadBefore()
	if err != nil {
		return err
	}
	errs := []error{a.systemctl(ctx, "daemon-reload")}
	for u, was := range b.Units {
		if was.Active && a.isThere(u) && u != a.Self && !strings.HasSuffix(u, ".socket") {
			verb := "restart"
			if u == addressUnit {
				verb = "reload-or-restart"
			}
			errs = append(errs, a.systemctl(ctx, verb, u))
		}
	}
	errs = append(errs, a.restoreSysctls(b, nil))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return a.saveBefore(&before{})
}

// isThere tells whether systemd would find a unit of ours.
func (a *SystemdActivator) isThere(unit string) bool {
	_, err := os.Stat(filepath.Join(a.Root, unitDir, unit))
	return err == nil
}

// sysctls are the lines of our sysctl.d file below dir, if m has one.
func (a *SystemdActivator) sysctls(m *render.Manifest, dir string) ([]render.Sysctl, error) {
	if _, has := entryOf(m, render.SysctlFile); !has {
		return nil, nil
	}
	data, err := readBelow(dir, render.SysctlFile)
	if err != nil {
		return nil, err
	}
	return render.Sysctls(data)
}

func (a *SystemdActivator) procSys() (*place, error) {
	if a.ProcSys != "" {
		return openPlace(a.ProcSys)
	}
	return openPlace(filepath.Join(a.Root, "proc/sys"))
}

// applySysctls writes the values of now, having noted those that were there.
func (a *SystemdActivator) applySysctls(b *before, now *render.Manifest) error {
	all, err := a.sysctls(now, Tree(a.Dir, now.Generation))
	if err != nil || len(all) == 0 {
		return err
	}
	proc, err := a.procSys()
	if err != nil {
		return err
	}
	defer proc.close()
	var errs []error
	var write []render.Sysctl
	for _, s := range all {
		was, err := readSysctl(proc, s.Key)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: does this machine have the device that the cluster file names?", err)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if was == s.Value {
			continue
		}
		if _, known := b.Sysctls[s.Key]; !known {
			b.Sysctls[s.Key] = was
		}
		write = append(write, s)
	}
	if len(write) > 0 {
		if err := a.saveBefore(b); err != nil { // before anything changes
			return err
		}
	}
	for _, s := range write {
		errs = append(errs, writeSysctl(proc, s.Key, s.Value))
	}
	return errors.Join(errs...)
}

// restoreSysctls gives keys that now doesn't set their former values; without a
// manifest, all that were noted.
func (a *SystemdActivator) restoreSysctls(b *before, now *render.Manifest) error {
	if len(b.Sysctls) == 0 {
		return nil
	}
	keep := map[string]bool{}
	if now != nil {
		all, err := a.sysctls(now, Tree(a.Dir, now.Generation))
		if err != nil {
			return err
		}
		for _, s := range all {
			keep[s.Key] = true
		}
	}
	proc, err := a.procSys()
	if err != nil {
		return err
	}
	defer proc.close()
	var errs []error
	restored := false
	for key, value := range b.Sysctls {
		if keep[key] {
			continue
		}
		err := writeSysctl(proc, key, value)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // its device is gone
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		delete(b.Sysctls, key)
		restored = true
	}
	if restored && now != nil {
		errs = append(errs, a.saveBefore(b))
	}
	return errors.Join(errs...)
}

func readSysctl(proc *place, key string) (string, error) {
	f, err := proc.root.Open(key)
	if err != nil {
		return "", trouble(proc.path(key), err)
	}
	defer f.Close()
	var buf [4096]byte
	n, err := f.Read(buf[:])
	if n == 0 && err != nil {
		return "", trouble(proc.path(key), err)
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

func writeSysctl(proc *place, key, value string) error {
	f, err := proc.root.OpenFile(key, os.O_WRONLY, 0)
	if err != nil {
		return trouble(proc.path(key), err)
	}
	_, err = f.WriteString(value + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s can't be set to %q: %w", proc.path(key), value, err)
	}
	return nil
}
