package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"filippo.io/age"
	"github.com/svm-cluster/svm/ems/render"
)

// Where a machine keeps what it was enrolled with.
const (
	PinFile      = "/etc/svm/station.pub" // the station's minisign key, mode 0644
	IdentityFile = "/etc/svm/machine.key" // directors: age identity, mode 0600
	hostKeyFile  = "/etc/ssh/ssh_host_ed25519_key.pub"
)

// Machine is the side of enrolment that runs on a machine.
type Machine struct {
	Root     string // prefix of all paths; "/" on a real machine
	Kind     render.Kind
	Name     string // as in the cluster file
	User     string // whom the station logs in as; it must exist
	Receiver string // the forced command: /usr/local/bin/svm-fwd receive
	Token    Token
}

// Pinned is the station's key that the machine below root was enrolled with. program is
// what enrolls it, for the error's remedy.
func Pinned(root, program string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, PinFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("this machine trusts no station yet (%s): %s enroll TOKEN, with what svm-ems token prints", PinFile, program)
	}
	return strings.TrimSpace(string(b)), err
}

// mark ends the lines of authorized_keys that are ours.
const mark = "svm-enrolled"

// Enroll pins the station's key, makes the machine's own key (directors), lets the
// station's (or the directors') SSH keys start the receiver and nothing else, and puts
// the units there that the first configuration needs. It may be repeated: the machine's
// key stays, lines of an earlier enrolment are replaced, all else is left alone.
func (m *Machine) Enroll() (Line, error) {
	line := Line{Name: m.Name}
	if !label.MatchString(m.Name) {
		return line, fmt.Errorf("%q is no machine's name of a cluster file: name it with --node", m.Name)
	}
	keys := []string{m.Token.StationSSH}
	if m.Kind == render.RealServer {
		if keys = m.Token.Relays; len(keys) == 0 {
			return line, errors.New("the token has no director's key: make it after the directors are in the cluster file (svm-ems token)")
		}
	}
	host, err := os.ReadFile(m.path(hostKeyFile))
	if err != nil {
		return line, fmt.Errorf("sshd's host key: %w (install openssh-server, or run ssh-keygen -A)", err)
	}
	if line.HostKey, err = CleanKey(strings.TrimSpace(string(host))); err != nil {
		return line, fmt.Errorf("%s: %w", hostKeyFile, err)
	}
	if old, err := os.ReadFile(m.path(PinFile)); err == nil && strings.TrimSpace(string(old)) != m.Token.StationKey {
		return line, fmt.Errorf("%s: this machine trusts another station; if that is meant to end, remove the file and enroll again", PinFile)
	}
	u, err := user.Lookup(m.User)
	if err != nil {
		return line, fmt.Errorf("user %s, whom the station logs in as: %w (useradd --system --create-home --home-dir /var/lib/%s --shell /bin/sh --password '*' %s)", m.User, err, m.User, m.User)
	}
	if m.Kind == render.Director {
		if line.Age, err = m.identity(); err != nil {
			return line, err
		}
	}
	if err := m.units(); err != nil {
		return line, err
	}
	if err := m.authorize(u, keys); err != nil {
		return line, err
	}
	// Last: with it the machine counts as enrolled.
	return line, m.write(PinFile, []byte(m.Token.StationKey+"\n"), 0o644)
}

func (m *Machine) path(p string) string { return filepath.Join(m.Root, p) }

// write replaces a file whole or not at all.
func (m *Machine) write(path string, data []byte, mode fs.FileMode) error {
	path = m.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".svm-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (m *Machine) identity() (recipient string, err error) {
	text, err := os.ReadFile(m.path(IdentityFile))
	if errors.Is(err, fs.ErrNotExist) {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return "", err
		}
		return id.Recipient().String(), m.write(IdentityFile, []byte(id.String()+"\n"), 0o600)
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			id, err := age.ParseX25519Identity(line)
			if err != nil {
				return "", fmt.Errorf("%s is damaged: remove it and enroll again, and give the new line to the station", IdentityFile)
			}
			return id.Recipient().String(), nil
		}
	}
	return "", fmt.Errorf("%s is empty: remove it and enroll again, and give the new line to the station", IdentityFile)
}

// units puts down those that aren't there; a configuration's own are links by then.
func (m *Machine) units() error {
	for _, f := range render.BaseUnits(m.Kind, m.User, m.Name) {
		if _, err := os.Lstat(m.path(f.Path)); err == nil {
			continue
		}
		if err := m.write(f.Path, f.Data, f.Mode); err != nil {
			return err
		}
	}
	return nil
}

// authorize replaces our lines in the user's authorized_keys.
func (m *Machine) authorize(u *user.User, keys []string) error {
	dir := filepath.Join(u.HomeDir, ".ssh")
	path := filepath.Join(dir, "authorized_keys")
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if err := os.MkdirAll(m.path(dir), 0o700); err != nil {
		return err
	}
	old, err := os.ReadFile(m.path(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(old)) {
		if !strings.HasSuffix(strings.TrimSpace(line), " "+mark) {
			b.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	for _, k := range keys {
		clean, err := CleanKey(k)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "restrict,command=%q %s %s\n", m.Receiver, clean, mark)
	}
	if err := m.write(path, []byte(b.String()), 0o600); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return nil
	}
	// The user may read it, and sshd wants nobody else to own it.
	return errors.Join(os.Lchown(m.path(dir), uid, gid), os.Lchown(m.path(path), uid, gid))
}
