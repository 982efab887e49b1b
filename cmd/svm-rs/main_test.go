package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/realserver"
)

// asCommand makes this test binary behave as svm-rs itself.
const asCommand = "SVM_RS_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	netlab.Main(m)
}

// TestScripts runs each script of testdata on a real server of its own, with
// eth0 and a default route. There:
//
//	svm-rs ARG...           runs svm-rs on it
//	lo ADDR/BITS yes|no     fails unless lo has the address, or has not
//	sysctl NAME VALUE       fails unless the setting has the value
//	setsysctl NAME VALUE    sets it
//	addr DEVICE ADDR/BITS   adds an address
func TestScripts(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values["node"] = newServer(env.T().(testing.TB))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"svm-rs": func(ts *testscript.TestScript, neg bool, args []string) {
				c := node(ts).Command(context.Background(), exe, args...)
				c.Env = append(os.Environ(), asCommand+"=1")
				c.Dir = ts.Getenv("WORK")
				c.Stdout, c.Stderr = ts.Stdout(), ts.Stderr()
				if err := c.Run(); (err == nil) == neg {
					ts.Fatalf("svm-rs %q: %v", args, err)
				}
			},
			"lo": func(ts *testscript.TestScript, neg bool, args []string) {
				if has := onLo(ts, args[0]); has != (args[1] == "yes") {
					ts.Fatalf("%s on lo: %v, want %s", args[0], has, args[1])
				}
			},
			"sysctl": func(ts *testscript.TestScript, neg bool, args []string) {
				if got := node(ts).SysctlGet(args[0]); got != args[1] {
					ts.Fatalf("%s = %s, want %s", args[0], got, args[1])
				}
			},
			"setsysctl": func(ts *testscript.TestScript, neg bool, args []string) { node(ts).Sysctl(args[0], args[1]) },
			"addr":      func(ts *testscript.TestScript, neg bool, args []string) { node(ts).Addr(args[0], args[1]) },
		},
	})
}

func node(ts *testscript.TestScript) *netlab.Node { return ts.Value("node").(*netlab.Node) }

func newServer(t testing.TB) *netlab.Node {
	lab := netlab.New(t)
	eps, router := lab.Node("eps1"), lab.Node("router")
	sw := lab.Switch("s")
	sw.Attach(eps, "eth0", "192.168.2.11/24", "2001:db8:2::11/64")
	sw.Attach(router, "eth0", "192.168.2.254/24", "2001:db8:2::fe/64")
	eps.Route("default", "192.168.2.254")
	eps.Route("default", "2001:db8:2::fe")
	return eps
}

func onLo(ts *testscript.TestScript, addr string) (has bool) {
	ts.Check(node(ts).Do(func() error {
		s, err := realserver.Read(context.Background(), ts.Getenv("WORK")+"/none.json")
		for _, a := range s.Addresses {
			has = has || a.Device == "lo" && a.Prefix.String() == addr
		}
		return err
	}))
	return has
}
