package render

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/svm-cluster/svm/ems/cluster"
)

// Where the files of a machine lie.
const (
	ClusterFile    = "/etc/svm/cluster.yaml"
	RelayKeyFile   = "/etc/svm/relay.key"   // directors: for the way to the real servers
	KnownHostsFile = "/etc/svm/known_hosts" // directors: the real servers' host keys
	SysctlFile     = "/etc/sysctl.d/90-svm.conf"
	NetworkFile    = "/etc/systemd/network/05-svm.network" // real servers
)

// daemonUser is whom the director daemon runs as.
const daemonUser = "svm"

// Director renders the files of the director node.
func (r *Renderer) Director(node string, s Secrets) (*Config, error) {
	d := r.c.Director(node)
	if d == nil {
		return nil, fmt.Errorf("render: cluster %s has no director %q", r.c.Name, node)
	}
	f := files{stamp: r.stamp.Line(node)}
	if err := r.operatorsFile(&f); err != nil {
		return nil, err
	}
	if err := r.secrets(&f, node, s); err != nil {
		return nil, err
	}
	hosts, err := r.knownHosts()
	if err != nil {
		return nil, err
	}
	f.add(KnownHostsFile, hosts)
	sysctl, err := directorSysctl(d, r.c.VIPs())
	if err != nil {
		return nil, err
	}
	f.add(SysctlFile, sysctl)
	for _, name := range []string{"svm-fwd.service", "svm-provision.service", "svm-receiver.socket", "svm-receiver@.service"} {
		f.add(unitDir+name, unit(name, Director, r.c.Delivery.SSHUser, node))
	}
	return r.config(node, Director, f)
}

// operatorsFile is the cluster file as it was written, below the stamp.
func (r *Renderer) operatorsFile(f *files) error {
	// A byte order mark may stand at the start only.
	text := strings.TrimPrefix(string(r.in.YAML), "\ufeff")
	f.add(ClusterFile, text)
	got, err := cluster.Parse("cluster.yaml", f.all[len(f.all)-1].Data)
	if err != nil {
		return fmt.Errorf("the cluster file, with the line that names its generation before it: %w", err)
	}
	if got.Digest() != r.c.Digest() {
		return fmt.Errorf("render: the cluster file means something else with a comment before its first line: start it with the line \"cluster: %s\"", r.c.Name)
	}
	return nil
}

// secrets are the pair's key, where the cluster file names a place for it, and the
// director's own.
func (r *Renderer) secrets(f *files, node string, s Secrets) error {
	if at := r.c.HA.KeyFile; at != "" {
		switch {
		case !strings.HasPrefix(at, "/etc/svm/") || path.Clean(at) != at || pathProblem(at) != "":
			return fmt.Errorf("render: ha.key_file: %s: the station delivers the key to a file below /etc/svm only: write key_file: /etc/svm/ha.key", strconv.Quote(at))
		case at == ClusterFile || at == RelayKeyFile || at == KnownHostsFile:
			return fmt.Errorf("render: ha.key_file: %s is another file of the director: write key_file: /etc/svm/ha.key", at)
		}
		key, err := hex.DecodeString(string(bytes.TrimSuffix(s.HAKey, []byte("\n"))))
		if err != nil || len(key) != 32 {
			return fmt.Errorf("render: director %s: ha.key_file is set, but the secrets hold no key of 64 hex digits: the station makes it (svm-ems init)", node)
		}
		f.secret(at, daemonUser, s.HAKey)
	}
	if block, _ := pem.Decode(s.RelayKey); block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return fmt.Errorf("render: director %s: the secrets hold no relay key (an OpenSSH private key): the station makes it (svm-ems init)", node)
	}
	f.secret(RelayKeyFile, "", s.RelayKey)
	return nil
}

// knownHosts are the real servers that the roster has a host key of, in the order of
// the cluster file. Others can't be relayed to until they are enrolled.
func (r *Renderer) knownHosts() (string, error) {
	keys := map[string]string{}
	for _, m := range r.in.Roster.Machines {
		keys[m.Name] = m.HostKey
	}
	var b strings.Builder
	port := strconv.Itoa(int(r.c.Delivery.SSHPort))
	for i := range r.c.RealServers {
		rs := &r.c.RealServers[i]
		if keys[rs.Name] == "" {
			continue
		}
		key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(keys[rs.Name]))
		if err != nil || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
			return "", fmt.Errorf("render: the roster's host key of %s is no SSH public key: enroll the machine again", rs.Name)
		}
		hosts := []string{rs.Name + ":" + port, "[" + rs.Address.String() + "]:" + port}
		if rs.Address6.IsValid() {
			hosts = append(hosts, "["+rs.Address6.String()+"]:"+port)
		}
		b.WriteString(knownhosts.Line(hosts, key) + "\n")
	}
	return b.String(), nil
}
