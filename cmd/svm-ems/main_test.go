package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/svm-cluster/svm/ems/station"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"svm-ems": func() { os.Exit(execute(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the scripts of testdata/script. There:
//
//	lock DIR USER VERB   takes the station's lock, until unlock or the script's end
//	ssh-key NAME         sets NAME to a new public SSH key, two words
//	age-key NAME         sets NAME to a new age recipient
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values["lock"] = new(*station.Lock)
			env.Setenv("SUDO_USER", "alice")
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lock": func(ts *testscript.TestScript, _ bool, args []string) {
				s, err := station.Open(ts.MkAbs(args[0]))
				ts.Check(err)
				l, err := s.Lock(context.Background(), args[1], args[2], 0)
				ts.Check(err)
				*ts.Value("lock").(**station.Lock) = l
				ts.Defer(func() { _ = l.Release() })
			},
			"unlock": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Check((*ts.Value("lock").(**station.Lock)).Release())
			},
			"ssh-key": func(ts *testscript.TestScript, _ bool, args []string) { ts.Setenv(args[0], newSSHKey(ts)) },
			"age-key": func(ts *testscript.TestScript, _ bool, args []string) { ts.Setenv(args[0], newRecipient(ts)) },
		},
	})
}
