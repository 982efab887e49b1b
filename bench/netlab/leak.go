package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// leaks waits a moment for everything in the nodes to end, and tells what did
// not. Processes that stayed are killed.
func leaks(nodes []*Node, patience time.Duration) error {
	names := make(map[uint64]string, len(nodes))
	for _, n := range nodes {
		names[n.inode] = n.name
	}
	var pids []int
	err := poll(patience, func() error {
		var errs []error
		pids, errs = processes(names)
		return errors.Join(append(append(errs, threads(names)...), sockets(names)...)...)
	})
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
		// Its parent is gone, so it may be ours to bury.
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
	return err
}

func processes(names map[uint64]string) (pids []int, errs []error) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	self := strconv.Itoa(os.Getpid())
	for _, d := range dirs {
		if filepath.Base(d) == self {
			continue
		}
		if name, ok := names[nsInode(d+"/ns/net")]; ok {
			pid, _ := strconv.Atoi(filepath.Base(d))
			cmdline, _ := os.ReadFile(d + "/cmdline")
			pids = append(pids, pid)
			errs = append(errs, fmt.Errorf("netlab: %s: process left behind: %d %s", name, pid,
				strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))))
		}
	}
	return pids, errs
}

func threads(names map[uint64]string) (errs []error) {
	dirs, _ := filepath.Glob("/proc/self/task/[0-9]*")
	for _, d := range dirs {
		if name, ok := names[nsInode(d+"/ns/net")]; ok {
			errs = append(errs, fmt.Errorf("netlab: %s: a thread is still in it (a Do has not returned)", name))
		}
	}
	return errs
}

func nsInode(path string) uint64 {
	s, err := os.Readlink(path)
	if err != nil {
		return 0
	}
	s, _ = strings.CutPrefix(s, "net:[")
	ino, _ := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64)
	return ino
}

// sockets finds this process's open sockets that belong to the nodes: each keeps
// its namespace alive.
func sockets(names map[uint64]string) (errs []error) {
	fds, _ := filepath.Glob("/proc/self/fd/[0-9]*")
	for _, path := range fds {
		if s, err := os.Readlink(path); err != nil || !strings.HasPrefix(s, "socket:") {
			continue
		}
		fd, _ := strconv.Atoi(filepath.Base(path))
		ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
		if err != nil {
			continue // closed meanwhile
		}
		var st unix.Stat_t
		err = unix.Fstat(ns, &st)
		unix.Close(ns)
		if name, ok := names[st.Ino]; err == nil && ok {
			what := ""
			if sa, err := unix.Getsockname(fd); err == nil {
				what = sockName(sa)
			}
			if what == netlinkSocket {
				continue // the node's own handle, closed next
			}
			errs = append(errs, fmt.Errorf("netlab: %s: socket left open: %s", name, what))
		}
	}
	return errs
}

const netlinkSocket = "netlink"

func sockName(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return fmt.Sprintf("local port %d, IPv4", a.Port)
	case *unix.SockaddrInet6:
		return fmt.Sprintf("local port %d, IPv6", a.Port)
	case *unix.SockaddrLinklayer:
		return fmt.Sprintf("packet socket on interface %d", a.Ifindex)
	case *unix.SockaddrNetlink:
		return netlinkSocket
	}
	return fmt.Sprintf("%T", sa)
}
