package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Node is one machine of a lab: a network namespace.
type Node struct {
	lab    *Lab
	name   string
	number int      // place in the lab, for MAC addresses
	ns     *os.File // the namespace
	inode  uint64   // what the kernel calls it
	handle *netlink.Handle
	ports  int         // devices made so far
	binds  [][2]string // directories that its processes see in another place
}

// Node makes a machine without any device but lo.
func (l *Lab) Node(name string) *Node {
	l.helper()()
	n := &Node{lab: l, name: name}
	var err error
	n.ns, err = newNamespace()
	l.check(err, "node %s", name)
	l.mu.Lock()
	l.nodes = append(l.nodes, n)
	n.number = len(l.nodes)
	l.mu.Unlock()
	var st unix.Stat_t
	l.check(unix.Fstat(int(n.ns.Fd()), &st), "node %s", name)
	n.inode = st.Ino
	err = n.Do(func() (err error) {
		if n.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		return defaults()
	})
	l.check(err, "node %s", name)
	l.check(n.handle.SetSocketTimeout(10*time.Second), "node %s", name)
	n.LinkUp("lo")
	return n
}

// Name returns the name that the node was made with.
func (n *Node) Name() string { return n.name }

// Bind lets the node's processes see the directory dir at the path at, which must
// exist, as if the machine had a disk of its own. It counts for processes that
// are started later.
func (n *Node) Bind(dir, at string) {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.binds = append(n.binds, [2]string{dir, at})
}

// newNamespace makes a network namespace and comes back from it.
func newNamespace() (*os.File, error) {
	var ns *os.File
	err := visit(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("new network namespace: %w", err)
	}
	return ns, nil
}

// visit calls f on a locked thread between enter and the way back.
func visit(enter, f func() error) (err error) {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(home)
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if e := unix.Setns(home, unix.CLONE_NEWNET); e != nil {
			// Still locked: the thread dies with its goroutine and serves no other.
			err = errors.Join(err, fmt.Errorf("leave network namespace: %w", e))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Do calls f with the calling goroutine's thread inside the node. Goroutines
// that f starts are outside. Sockets made in f stay the node's and may be used
// from anywhere.
func (n *Node) Do(f func() error) error {
	return visit(func() error {
		if err := unix.Setns(int(n.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", n.name, err)
		}
		return nil
	}, f)
}

// defaults makes the namespace that the thread is in independent of the host's
// settings, some of which new namespaces copy.
func defaults() error {
	for key, value := range map[string]string{
		"ipv4/ip_forward":                        "0",
		"ipv4/conf/all/rp_filter":                "0",
		"ipv4/conf/default/rp_filter":            "0",
		"ipv4/conf/all/arp_ignore":               "0",
		"ipv4/conf/default/arp_ignore":           "0",
		"ipv4/conf/all/arp_announce":             "0",
		"ipv4/conf/default/arp_announce":         "0",
		"ipv4/conf/all/arp_filter":               "0",
		"ipv4/conf/default/arp_filter":           "0",
		"ipv6/conf/all/disable_ipv6":             "0",
		"ipv6/conf/default/disable_ipv6":         "0",
		"ipv6/conf/all/forwarding":               "0",
		"ipv6/conf/all/accept_dad":               "0",
		"ipv6/conf/default/accept_dad":           "0",
		"ipv6/conf/default/dad_transmits":        "0",
		"ipv6/conf/default/accept_ra":            "0",
		"ipv6/conf/default/autoconf":             "0",
		"ipv6/conf/default/router_solicitations": "0",
	} {
		err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
		if err != nil && !(strings.HasPrefix(key, "ipv6/") && errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// Sysctl sets one of the node's network settings, as in
// Sysctl("net.ipv4.ip_forward", "1"). Slashes may stand for the dots.
func (n *Node) Sysctl(key, value string) {
	n.lab.helper()()
	err := n.Do(func() error { return os.WriteFile(sysctlPath(key), []byte(value), 0) })
	n.lab.check(err, "%s: set %s=%s", n.name, key, value)
}

// SysctlGet reads one of the node's network settings.
func (n *Node) SysctlGet(key string) string {
	n.lab.helper()()
	var b []byte
	err := n.Do(func() (err error) {
		b, err = os.ReadFile(sysctlPath(key))
		return err
	})
	n.lab.check(err, "%s: read %s", n.name, key)
	return strings.TrimSpace(string(b))
}

func sysctlPath(key string) string {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return filepath.Join("/proc/sys", key)
}

// Hint returns the shell command that takes a person into the node from
// outside, while the lab is up.
func (n *Node) Hint() string {
	pid, user := outside()
	flags := ""
	if user {
		flags = "-U --preserve-credentials "
	}
	return fmt.Sprintf("nsenter -t %s %s-m --net=/proc/%s/fd/%d", pid, flags, pid, n.ns.Fd())
}

// exitSignal is what processes of a lab get when it goes.
const exitSignal = syscall.SIGKILL
