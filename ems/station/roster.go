package station

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/render"
	"golang.org/x/crypto/ssh"
)

// ErrKnown says that a machine is enrolled with another key already.
var ErrKnown = errors.New("enrolled with another key already")

// Roster is what the station knows of the machines today.
func (s *Station) Roster() (render.Roster, error) {
	var r render.Roster
	if err := readJSON(s.path(rosterFile), &r); err != nil {
		return render.Roster{}, fmt.Errorf("roster: %w", err)
	}
	return r, nil
}

// Enroll takes a machine's public keys, as its enroll command printed them, into today's roster; changed is false if they are
// there already. The machine must be in the newest cluster file. Another key than the
// one that is known is refused with ErrKnown, unless replace is set. Machines see it
// with the next generation.
func (s *Station) Enroll(m enroll.Line, replace bool) (changed bool, err error) {
	if err := s.locked(); err != nil {
		return false, err
	}
	newest, err := s.Newest()
	if err != nil {
		return false, err
	}
	c, err := cluster.Parse("generation", newest.YAML)
	if err != nil {
		return false, err
	}
	director := c.Director(m.Name) != nil
	switch {
	case !director && c.RealServer(m.Name) == nil:
		return false, fmt.Errorf("%s isn't in generation %d: svm-ems commit a cluster file that names it, then enroll it",
			m.Name, newest.Stamp.Generation)
	case !director:
		m.Age = "" // nothing is sealed to it
	}
	r, err := s.Roster()
	if err != nil {
		return false, err
	}
	for _, o := range r.Machines {
		if o.Name != m.Name && m.HostKey != "" && o.HostKey == m.HostKey {
			return false, fmt.Errorf("%s: its host key is %s's: were both copied from one disk? rm /etc/ssh/ssh_host_*; ssh-keygen -A; then enroll it again",
				m.Name, o.Name)
		}
	}
	i := slices.IndexFunc(r.Machines, func(o render.Machine) bool { return o.Name == m.Name })
	if i < 0 {
		i = len(r.Machines)
		r.Machines = append(r.Machines, render.Machine{Name: m.Name})
	}
	old := r.Machines[i]
	now := merged(old, m)
	if now == old {
		return false, nil
	}
	if !replace && (old.HostKey != "" && old.HostKey != now.HostKey || old.Age != "" && old.Age != now.Age) {
		return false, fmt.Errorf("%s: %w (%s): if it was replaced or installed anew, use --replace", m.Name, ErrKnown, Fingerprint(old.HostKey))
	}
	r.Machines[i] = now
	slices.SortFunc(r.Machines, func(a, b render.Machine) int { return strings.Compare(a.Name, b.Name) })
	if err := writeFile(s.path(rosterFile), encode(r), 0o600); err != nil {
		return false, fmt.Errorf("roster: %w", err)
	}
	return true, nil
}

// merged is old with what m says.
func merged(old render.Machine, m enroll.Line) render.Machine {
	if m.HostKey != "" {
		old.HostKey = m.HostKey
	}
	if m.Age != "" {
		old.Age = m.Age
	}
	return old
}

// Fingerprint is an SSH key's SHA256:... as ssh-keygen -l shows it, or "no key".
func Fingerprint(key string) string {
	k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
	if err != nil {
		return "no key"
	}
	return ssh.FingerprintSHA256(k)
}
