package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/vishvananda/netlink"
)

// farm is a server network with two directors, two real servers without any address,
// a router, and a stranger.
type farm struct {
	t                              *testing.T
	lab                            *netlab.Lab
	sw                             *netlab.Switch
	eds1, eds2, eps1, eps2, router *netlab.Node
	stranger                       *netlab.Node
	station                        *station
	dir                            string
}

func newFarm(t *testing.T) *farm {
	dir := t.TempDir() // it goes after the lab, whose processes write there
	lab := netlab.New(t)
	f := &farm{t: t, lab: lab, dir: dir, sw: lab.Switch("s"),
		eds1: lab.Node("eds1"), eds2: lab.Node("eds2"), eps1: lab.Node("eps1"), eps2: lab.Node("eps2"),
		router: lab.Node("router"), stranger: lab.Node("stranger")}
	f.sw.Attach(f.eds1, "eth1", "192.168.2.2/24")
	f.sw.Attach(f.eds2, "eth1", "192.168.2.3/24")
	f.sw.Attach(f.eps1, "eth0")
	f.sw.Attach(f.eps2, "eth0")
	f.sw.Attach(f.router, "eth0", "192.168.2.254/24")
	f.sw.Attach(f.stranger, "eth0")
	f.station = newStation(t, f.eps1.MAC("eth0").String())
	return f
}

func (f *farm) path(n *netlab.Node, name string) string { return filepath.Join(f.dir, n.Name(), name) }

func (f *farm) store(n *netlab.Node) *machine.Store {
	f.t.Helper()
	return newStore(f.t, filepath.Join(f.dir, n.Name()))
}

// active gives the role to the one and takes it from the other.
func (f *farm) active(to, from *netlab.Node) {
	f.t.Helper()
	if err := os.Remove(f.path(from, "active")); err != nil && !os.IsNotExist(err) {
		f.t.Fatal(err)
	}
	write(f.t, f.path(to, "active"), nil)
}

func (f *farm) start(n *netlab.Node, p process) *netlab.Cmd {
	f.t.Helper()
	p.Dir, p.Pin = filepath.Join(f.dir, n.Name()), f.station.key.Public()
	check(f.t, os.MkdirAll(p.Dir, 0o755))
	if p.Every == 0 {
		p.Every = 200 * time.Millisecond
	}
	if p.Kind == render.Director {
		p.Node = n.Name()
		p.YAML = write(f.t, filepath.Join(p.Dir, "cluster.yaml"), []byte(f.station.yaml()))
		p.Identity = write(f.t, filepath.Join(p.Dir, "machine.key"), f.station.identity[n.Name()])
	}
	text, err := json.Marshal(p)
	check(f.t, err)
	exe, err := os.Executable()
	check(f.t, err)
	cmd := n.Command(context.Background(), exe)
	cmd.Env = append(os.Environ(), asProcess+"="+string(text))
	check(f.t, cmd.Start())
	return cmd
}

func (f *farm) director(n *netlab.Node, peers ...netip.AddrPort) *netlab.Cmd {
	f.t.Helper()
	return f.start(n, process{Kind: render.Director, Peers: peers})
}

func (f *farm) agent(n *netlab.Node, hostName string) *netlab.Cmd {
	f.t.Helper()
	return f.start(n, process{Kind: render.RealServer, HostName: hostName, Device: AutoDevice})
}

func (f *farm) status(n *netlab.Node) (st Status) {
	b, err := os.ReadFile(f.path(n, "status"))
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil && !os.IsNotExist(err) {
		f.t.Fatal(err)
	}
	return st
}

func (f *farm) await(what string, cond func() bool) {
	f.t.Helper()
	netlab.Eventually(f.t, 40*time.Second, cond, what)
}

// serves waits until the director's DHCP is on, or off.
func (f *farm) serves(n *netlab.Node, want string) {
	f.t.Helper()
	f.await(n.Name()+": DHCP "+want, func() bool { return f.status(n).DHCP == want })
}

// settled waits until the real server has confirmed the generation.
func (f *farm) settled(n *netlab.Node, gen uint64) {
	f.t.Helper()
	s := f.store(n)
	f.await(fmt.Sprintf("%s confirms generation %d", n.Name(), gen), func() bool {
		st := state(f.t, s)
		return st.Phase == machine.Settled && st.Confirmed == gen
	})
}

// addresses are the IPv4 ones of eth0; forever tells whether all of them are lasting.
func addresses(t testing.TB, n *netlab.Node) (all []string, forever bool) {
	t.Helper()
	forever = true
	check(t, n.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		list, err := netlink.AddrList(link, netlink.FAMILY_V4)
		for _, a := range list {
			all = append(all, a.IPNet.String())
			forever = forever && a.Flags&0x80 != 0 // IFA_F_PERMANENT
		}
		return err
	}))
	return all, forever
}

func defaultRoute(t testing.TB, n *netlab.Node) (via net.IP) {
	t.Helper()
	check(t, n.Do(func() error {
		list, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		for _, r := range list {
			if r.Gw != nil {
				via = r.Gw
			}
		}
		return err
	}))
	return via
}

// needs skips the test without the program, or fails it where tests are required.
func needs(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}
