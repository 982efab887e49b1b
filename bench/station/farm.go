package station

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

// Farm is the five-machine farm (or a larger one) with disks, inits and sshd.
type Farm struct {
	*farm.Farm
	Programs Programs
	EMS      *Machine
	EDS, EPS []*Machine
}

// StateDir is the station's state directory on its own disk.
const StateDir = "/var/lib/svm-ems"

// Furnish gives every machine of a built farm its disk and boots it.
func (f *Farm) Furnish(ctx context.Context) error {
	make := func(name string, i int) (*Machine, error) {
		n := f.Farm.Station
		switch name {
		case "eds":
			n = f.Farm.EDS[i]
		case "eps":
			n = f.Farm.EPS[i]
		}
		m, err := Furnish(n, filepath.Join(f.Dir, "disk", n.Name()), f.Programs)
		if err != nil {
			return nil, err
		}
		if name == "eps" {
			if err := m.InstallWeb(); err != nil {
				return nil, err
			}
		}
		return m, m.Boot(ctx)
	}
	var err error
	if f.EMS, err = make("ems", 0); err != nil {
		return err
	}
	for i := range f.Farm.EDS {
		m, err := make("eds", i)
		if err != nil {
			return err
		}
		f.EDS = append(f.EDS, m)
	}
	for i := range f.Farm.EPS {
		m, err := make("eps", i)
		if err != nil {
			return err
		}
		f.EPS = append(f.EPS, m)
	}
	return nil
}

// Machines are all but the station.
func (f *Farm) Machines() []*Machine { return append(append([]*Machine{}, f.EDS...), f.EPS...) }

// Ems runs svm-ems on the station.
func (f *Farm) Ems(ctx context.Context, args ...string) (string, error) {
	return f.EMS.Run(ctx, "svm-ems", append([]string{"--state", StateDir}, args...)...)
}

// Init makes the station with a cluster file.
func (f *Farm) Init(ctx context.Context, text string) error {
	err := f.EMS.Write("/root/cluster.yaml", text, 0o644)
	if err == nil {
		_, err = f.Ems(ctx, "init", "--from", "/root/cluster.yaml")
	}
	return err
}

// InstallWeb installs a web server on a machine that is off.
func (m *Machine) InstallWeb() error {
	err := m.Write(unitDir+"/web.service", fmt.Sprintf(webUnit, m.Name()), 0o644)
	if err == nil {
		err = os.MkdirAll(m.Path(unitDir+"/multi-user.target.wants"), 0o755)
	}
	if err == nil {
		err = os.Symlink(unitDir+"/web.service", m.Path(unitDir+"/multi-user.target.wants/web.service"))
	}
	return err
}

// Enroll introduces every machine and the station to each other.
func (f *Farm) Enroll(ctx context.Context) error {
	for _, m := range f.Machines() {
		if err := f.EnrollOne(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// EnrollOne does so for one machine, as its administrator would.
func (f *Farm) EnrollOne(ctx context.Context, m *Machine) error {
	token, err := f.Ems(ctx, "token")
	if err != nil {
		return err
	}
	line, err := m.Run(ctx, f.program(m), "enroll", "--user", "root", strings.TrimSpace(token))
	if err != nil {
		return err
	}
	if _, err := f.Ems(ctx, "enroll", strings.TrimSpace(line)); err != nil {
		return err
	}
	return f.EnableBase(ctx, m)
}

// EnableBase enables the units that a machine needs before its first configuration.
func (f *Farm) EnableBase(ctx context.Context, m *Machine) error {
	units := []string{"svm-receiver.socket"}
	if f.program(m) == "svm-rs" {
		units = append(units, "svm-agent.service")
	}
	_, err := m.Run(ctx, "systemctl", append([]string{"enable", "--now"}, units...)...)
	return err
}

func (f *Farm) program(m *Machine) string {
	if strings.HasPrefix(m.Name(), "eds") {
		return "svm-fwd"
	}
	return "svm-rs"
}

// Off shuts all machines down.
func (f *Farm) Off() error {
	var errs []error
	for _, m := range append(f.Machines(), f.EMS) {
		if m != nil {
			errs = append(errs, m.Off())
		}
	}
	return errors.Join(errs...)
}

// Serving waits until one director is active and all its services' servers are
// ready.
func (f *Farm) Serving(ctx context.Context) error {
	return f.await(ctx, func(lacks string) bool { return lacks == "" })
}

// Lacking waits until the active director says what all services lack, with this word.
func (f *Farm) Lacking(ctx context.Context, word string) error {
	return f.await(ctx, func(lacks string) bool { return strings.Contains(lacks, word) })
}

func (f *Farm) await(ctx context.Context, done func(lacks string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var last string
	if err := farm.Await(ctx, func() bool {
		last = f.lacks(ctx)
		return done(last)
	}); err != nil {
		return fmt.Errorf("after 30 s the farm lacks: %s", last)
	}
	return nil
}

// lacks says what keeps the farm from serving with all it has; empty: nothing.
func (f *Farm) lacks(ctx context.Context) string {
	for _, m := range f.EDS {
		out, err := m.Run(ctx, "svm-fwd", "list", "-j")
		if err != nil {
			continue
		}
		var s struct {
			Role     string
			Services []struct {
				Name    string
				Servers []struct{ Name, State, Why string }
			}
		}
		if json.Unmarshal([]byte(out), &s) != nil || s.Role != "active" {
			continue
		}
		if len(s.Services) == 0 {
			return "services"
		}
		var lacks []string
		for _, v := range s.Services {
			for _, b := range v.Servers {
				if b.State != "ready" {
					lacks = append(lacks, fmt.Sprintf("%s on %s is %s: %s", v.Name, b.Name, b.State, b.Why))
				}
			}
		}
		return strings.Join(lacks, "; ")
	}
	return "an active director"
}
