package main

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// TestScripts runs the scripts of testdata/script. There:
//
//	director FILE [backup]        starts a director without devices on fwd.sock
//	svm-fwd ARG...                runs svm-fwd in the script's folder; its /etc is etc there
//	send CLIENT VIP FLAGS         sends one TCP segment through the director (S, A, F, R)
//	lose ADDR, find ADDR          the real server stops answering ARP, answers again
//	down SERVICE/SERVER, up ...   its health check fails, succeeds again
//	state SERVICE SERVER STATE    waits until the server is in that state
func TestScripts(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Values["exe"] = exe
			env.Values["fake"] = new(*fake)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"svm-fwd":  svmFwd,
			"director": director,
			"send": func(ts *testscript.TestScript, neg bool, args []string) {
				var flags byte
				for _, c := range args[2] {
					flags |= map[rune]byte{'S': frame.SYN, 'A': frame.ACK, 'F': frame.FIN, 'R': frame.RST}[c]
				}
				if running(ts).send(netip.MustParseAddrPort(args[0]), netip.MustParseAddrPort(args[1]), flags) == neg {
					ts.Fatalf("the segment was forwarded: %v", neg)
				}
			},
			"lose": func(ts *testscript.TestScript, _ bool, args []string) {
				f := running(ts)
				f.set(func() { f.lost[netip.MustParseAddr(args[0])] = true })
			},
			"find": func(ts *testscript.TestScript, _ bool, args []string) {
				f := running(ts)
				f.set(func() { delete(f.lost, netip.MustParseAddr(args[0])) })
			},
			"down": func(ts *testscript.TestScript, _ bool, args []string) {
				f := running(ts)
				f.set(func() { f.down[args[0]] = true })
			},
			"up": func(ts *testscript.TestScript, _ bool, args []string) {
				f := running(ts)
				f.set(func() { delete(f.down, args[0]) })
			},
			"state": func(ts *testscript.TestScript, _ bool, args []string) {
				await(ts, func() bool {
					for _, s := range running(ts).control.Status().Services {
						for _, v := range s.Servers {
							if s.Name == args[0] && v.Name == args[1] && v.State == args[2] {
								return true
							}
						}
					}
					return false
				})
			},
		},
	})
}

func director(ts *testscript.TestScript, _ bool, args []string) {
	socket := filepath.Join(ts.Getenv("WORK"), "fwd.sock")
	f, err := startFake(ts.MkAbs(args[0]), socket, len(args) < 2)
	ts.Check(err)
	ts.Defer(func() {
		if err := f.stop(); err != nil {
			ts.Fatalf("%v", err)
		}
	})
	await(ts, func() bool {
		_, err := control.NewClient(socket).Status(context.Background())
		return err == nil
	})
	*ts.Value("fake").(**fake) = f
}

func running(ts *testscript.TestScript) *fake {
	f := *ts.Value("fake").(**fake)
	if f == nil {
		ts.Fatalf("no director is running")
	}
	return f
}

func await(ts *testscript.TestScript, done func() bool) {
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("it does not come about")
		}
	}
}

func svmFwd(ts *testscript.TestScript, neg bool, args []string) {
	c := exec.Command(ts.Value("exe").(string), args...)
	c.Env = append(os.Environ(), asCommand+"="+ts.MkAbs("etc"), noRaceSleep)
	c.Dir = ts.Getenv("WORK")
	c.Stdout, c.Stderr = ts.Stdout(), ts.Stderr()
	err := c.Run()
	if (err == nil) == neg {
		ts.Fatalf("svm-fwd %s: %v", strings.Join(args, " "), err)
	}
}
