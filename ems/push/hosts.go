package push

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/render"
)

// Hosts are the host keys that are believed. It is immutable.
type Hosts struct{ db *knownhosts.HostKeyDB }

// HostLines is the roster's host keys as the text of a known_hosts file: each machine
// by its name in the cluster file.
func HostLines(r render.Roster) []byte {
	var b strings.Builder
	for _, m := range r.Machines {
		if m.HostKey != "" {
			fmt.Fprintf(&b, "%s %s\n", m.Name, m.HostKey)
		}
	}
	return []byte(b.String())
}

// ParseHosts reads the text of a known_hosts file. A machine is looked up by its name,
// then by its address.
func ParseHosts(text []byte) (*Hosts, error) {
	// The library reads files only, and reads them at once.
	f, err := os.CreateTemp("", "svm-hosts-")
	if err != nil {
		return nil, fmt.Errorf("host keys: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("host keys: %w", err)
	}
	db, err := knownhosts.NewDB(f.Name())
	if err != nil {
		return nil, fmt.Errorf("host keys: %s", strings.ReplaceAll(err.Error(), f.Name(), "line "))
	}
	return &Hosts{db}, nil
}

// under is where t's keys are looked up: its name, or, where that isn't known, its address.
func (h *Hosts) under(t Target) string {
	if name := net.JoinHostPort(t.Node, "22"); len(h.db.HostKeys(name)) > 0 {
		return name
	}
	return t.Addr
}

// callback checks t's host key. fatal gets the explanation, because the handshake's
// error doesn't keep it whole.
func (h *Hosts) callback(t Target, trust func(string, ssh.PublicKey) error, fatal *error) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		*fatal = h.check(t, key, trust)
		return *fatal
	}
}

func (h *Hosts) check(t Target, key ssh.PublicKey, trust func(string, ssh.PublicKey) error) error {
	where := h.under(t)
	err := h.db.HostKeyCallback()(where, &net.TCPAddr{}, key)
	var ke *xknownhosts.KeyError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &ke):
		return failure(t.Node, HostKey, "host key of %s: %w", t.Addr, err)
	case len(ke.Want) == 0 && trust != nil:
		if err := trust(t.Node, key); err != nil {
			return failure(t.Node, HostKey, "host key of %s: %w", t.Addr, err)
		}
		return nil
	case len(ke.Want) == 0:
		return failure(t.Node, HostKey, "its host key isn't known: %s shows %s %s; if that is what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on %[4]s, enroll it (`svm-ems enroll LINE`, or `svm-ems enroll --scan %[4]s`)",
			t.Addr, key.Type(), ssh.FingerprintSHA256(key), t.Node)
	}
	var known []string
	for _, k := range ke.Want {
		known = append(known, k.Key.Type()+" "+ssh.FingerprintSHA256(k.Key))
	}
	return failure(t.Node, HostKey, "ITS HOST KEY HAS CHANGED: enrolled is %s, but %s shows %s %s; nothing was sent there. Either somebody else answers at that address, or the machine was installed anew: then enroll it again (`svm-ems enroll --replace LINE` with the line that `enroll` prints on %s)",
		strings.Join(known, " or "), t.Addr, key.Type(), ssh.FingerprintSHA256(key), t.Node)
}

// algorithms limits the handshake to the kinds of key that are known, so that a machine
// with several can't show one that isn't.
func (h *Hosts) algorithms(t Target) []string {
	if known := h.db.HostKeyAlgorithms(h.under(t)); len(known) > 0 {
		return known
	}
	return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
}

// DirectorTarget is where the station reaches a director.
func DirectorTarget(c *cluster.Cluster, d *cluster.Director) Target {
	return target(c, d.Name, d.Server.Address.String())
}

// ServerTarget is where a director reaches a real server.
func ServerTarget(c *cluster.Cluster, s *cluster.RealServer) Target {
	return target(c, s.Name, s.Address.String())
}

func target(c *cluster.Cluster, node, addr string) Target {
	return Target{Node: node, User: c.Delivery.SSHUser, Addr: net.JoinHostPort(addr, fmt.Sprint(c.Delivery.SSHPort))}
}
