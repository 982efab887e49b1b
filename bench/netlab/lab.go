package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Lab is one throw-away network. Its methods and those of its parts may be
// called from several goroutines, those that build it from one at a time.
type Lab struct {
	t      testing.TB // nil in a program
	ctx    context.Context
	cancel context.CancelFunc

	patience time.Duration // how long Close waits for what is ending

	mu       sync.Mutex
	nodes    []*Node
	cmds     []*Cmd
	captures []*Capture
	clients  []*http.Client
	ifindex  int
	closed   bool
}

// Failure is what the methods without an error result panic with in a program.
type Failure struct{ Err error }

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// New makes an empty lab that goes with the test. It skips the test where
// namespaces are not allowed, or fails it with SVM_REQUIRE=1.
func New(t testing.TB) *Lab {
	t.Helper()
	l, err := Open()
	if err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l.t = t
	t.Cleanup(func() {
		t.Helper()
		if t.Failed() {
			l.logOutput()
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Open makes an empty lab for a program that has called Enter. The caller
// closes it.
func Open() (*Lab, error) {
	state, rest, _ := strings.Cut(os.Getenv(envState), " ")
	switch state {
	case "inside":
	case "none":
		return nil, errors.New("netlab: " + rest)
	default:
		return nil, errors.New("netlab: not inside: call netlab.Main from TestMain, or netlab.Enter first thing in main")
	}
	l := &Lab{ifindex: 1000, patience: 3 * time.Second}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Close ends all processes, captures and namespaces of the lab. The error tells
// what was still in use: processes that the lab did not start, threads and
// sockets left in its namespaces.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	cmds, captures, clients, nodes := l.cmds, l.captures, l.clients, l.nodes
	l.mu.Unlock()
	l.cancel()
	var errs []error
	for _, c := range cmds {
		c.kill()
	}
	for _, c := range captures {
		c.Stop()
	}
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	errs = append(errs, leaks(nodes, l.patience))
	for _, n := range nodes {
		n.handle.Close()
		errs = append(errs, n.ns.Close())
	}
	return errors.Join(errs...)
}

// Try runs f and returns the failure that it ended with, if any.
func (l *Lab) Try(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *Failure:
			err = r.Err
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// check ends the test, or the build in a program, when err is set.
func (l *Lab) check(err error, format string, args ...any) {
	if err == nil {
		return
	}
	err = fmt.Errorf("netlab: "+format+": %w", append(args, err)...)
	if l.t == nil {
		panic(&Failure{err})
	}
	l.t.Helper()
	l.t.Fatal(err)
}

// helper marks the caller's caller in test output; without a test, nothing.
func (l *Lab) helper() func() {
	if l.t == nil {
		return func() {}
	}
	return l.t.Helper
}

func (l *Lab) logOutput() {
	l.mu.Lock()
	cmds := l.cmds
	l.mu.Unlock()
	for _, c := range cmds {
		if out := c.Log(); out != "" {
			l.t.Logf("%s: output of %s:\n%s", c.node.name, strings.Join(c.Args, " "), out)
		}
	}
}

// index hands out interface numbers that no other device of the lab has. Two
// ends of a veth pair with the same number in their namespaces make the kernel
// take its slow path (about a second) before it sees the carrier.
func (l *Lab) index() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ifindex++
	return l.ifindex
}
