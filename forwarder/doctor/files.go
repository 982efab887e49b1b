package doctor

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/svm-cluster/svm/ems/cluster"
)

// keyState is what there is at ha.key_file.
type keyState struct {
	err     string // it can't be read
	missing bool
	mode    fs.FileMode
	digits  bool // 64 hex digits
}

// stateDir is the file system for forwarding.state_file.
type stateDir struct {
	err   string
	mount string // where it is mounted
	tmpfs bool
	size  uint64 // bytes
	free  uint64 // bytes, with what the file has already
}

// keyFile judges the pair's secret.
func (r *report) keyFile(h *host, conf *cluster.Cluster) {
	path := conf.HA.KeyFile
	if path == "" {
		if len(conf.Directors) > 1 {
			r.warn("key_file", "# (umask 077; svm-fwd genkey > /etc/svm/ha.key); copy it to the other director; set ha.key_file to it in "+r.file,
				"the pair has no key: anyone on its networks can take the role, and connections are not copied, so they break when it moves")
		}
		return
	}
	k := &h.key
	q := quote(path)
	create := fmt.Sprintf("(umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > %s) # then copy it to the other director", q)
	switch {
	case k.missing:
		r.fail("key_file", create, "%s is not there, so the two directors can't trust each other", path)
	case k.err != "":
		r.fail("key_file", "# run doctor as the user of svm-fwd, or as root", "%s", k.err)
	default:
		good := true
		if !k.mode.IsRegular() || k.mode.Perm()&0o077 != 0 {
			good = false
			r.fail("key_file", "chmod 0600 "+q, "%s may be used by others (mode %v): it is a secret", path, k.mode.Perm())
		}
		if !k.digits {
			good = false
			r.fail("key_file", create, "%s does not hold 64 hex digits", path)
		}
		if good {
			r.ok("key_file", "%s holds a key that nobody else can read", path)
		}
	}
}

// entryBytes is what the state file takes for each connection: 65 bytes (an entry
// and its share of the directory), and three tenths more as room to hash into.
const entryBytes = 93

// stateFile judges where the connection table is to live.
func (r *report) stateFile(h *host, f *cluster.Forwarding) {
	if f.StateFile == "none" {
		r.ok("state_file", "none: connections are forgotten when svm-fwd ends")
		return
	}
	d := &h.state
	if d.err != "" {
		r.warn("state_file", "# choose another forwarding.state_file in "+r.file, "%s", d.err)
		return
	}
	need := uint64(f.Connections)*entryBytes + 64<<10
	switch {
	case d.free < need:
		remedy := fmt.Sprintf("# choose another forwarding.state_file in %s, or fewer forwarding.connections", r.file)
		if d.tmpfs {
			remedy = fmt.Sprintf("mount -o remount,size=%dM %s", (d.size+need-d.free)>>20+1, quote(d.mount))
		}
		r.warn("state_file", remedy, "%s has %d MiB free for %s, but %d connections take %d: they would not outlive a crash", d.mount, d.free>>20, f.StateFile, f.Connections, need>>20+1)
	case !d.tmpfs:
		remedy := fmt.Sprintf("# set forwarding.state_file in %s to a path below /run", r.file)
		if dir := filepath.Dir(f.StateFile); strings.HasPrefix(dir, "/run/") { // as in some containers
			remedy = fmt.Sprintf("mkdir -p %[1]s && mount -t tmpfs -o mode=0755,size=%[2]dM svm %[1]s", quote(dir), (need+need/4)>>20+1)
		}
		r.warn("state_file", remedy,
			"%s is on a disk: every change of a connection would be written to it some time", f.StateFile)
	default:
		r.ok("state_file", "%s is in memory, with room for %d connections", f.StateFile, f.Connections)
	}
}

// quote makes a path one word of a shell command.
func quote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
