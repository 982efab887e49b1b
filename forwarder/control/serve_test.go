package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// serve starts Serve and returns what stops it and gives its error.
func serve(t *testing.T, path string, h http.Handler) func() error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, path, h, slog.New(slog.DiscardHandler)) }()
	stop := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("Serve does not end")
		}
	})
	t.Cleanup(func() { _ = stop() })
	for deadline := time.Now().Add(5 * time.Second); ; {
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
			return stop
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func hello() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, Status{Node: "eds1"}) })
}

func TestServe(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path := filepath.Join(t.TempDir(), "run", "svm", "fwd.sock")
	stop := serve(t, path, hello())
	st, err := os.Lstat(path)
	if err != nil || st.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("socket: mode %v, %v", st.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o755 {
		t.Errorf("its folder: mode %v, %v", dir.Mode(), err)
	}
	if s, err := NewClient(path).Status(t.Context()); err != nil || s.Node != "eds1" {
		t.Errorf("status %+v, %v", s, err)
	}
	if err := Serve(t.Context(), path, hello(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a second daemon: %v", err)
	}
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Errorf("after the second daemon was refused: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestServeModeFromTheStart looks while the socket is made, whatever the umask.
func TestServeModeFromTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fwd.sock")
	quit, watched := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-quit:
				watched <- nil
				return
			default:
			}
			if st, err := os.Lstat(path); err == nil && st.Mode().Perm() != 0o600 {
				watched <- fmt.Errorf("mode %v", st.Mode())
				return
			}
		}
	}()
	for range 20 {
		if err := serve(t, path, hello())(); err != nil {
			t.Fatal(err)
		}
	}
	close(quit)
	if err := <-watched; err != nil {
		t.Error(err)
	}
}

// TestServeAfterCrash: a socket without a listener is what kill -9 leaves.
func TestServeAfterCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fwd.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := NewClient(path).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "not running any more") {
		t.Errorf("a client of a dead daemon: %v", err)
	}
	stop := serve(t, path, hello())
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestServeKeepsOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fwd.sock")
	if err := os.WriteFile(path, []byte("dear diary"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), path, hello(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("got %v", err)
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "dear diary" {
		t.Errorf("the file is %q, %v", raw, err)
	}
}

// TestServeLeavesTheNextOne: who replaced the socket keeps it.
func TestServeLeavesTheNextOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fwd.sock")
	first := serve(t, path, hello())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := serve(t, path, hello())
	if err := first(); err != nil {
		t.Error(err)
	}
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Errorf("the second one's socket is gone: %v", err)
	}
	if err := second(); err != nil {
		t.Error(err)
	}
}

// TestServeEndsSlowClients: one that sends nothing does not hold the end up.
func TestServeEndsSlowClients(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path := filepath.Join(t.TempDir(), "fwd.sock")
	block := make(chan struct{})
	entered := make(chan struct{})
	stop := serve(t, path, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		select {
		case <-block:
		case <-r.Context().Done():
		}
	}))
	defer close(block)
	silent, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	busy, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if _, err := io.WriteString(busy, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A socket is there for one daemon alone, also before it is served; its callers wait.
func TestListenBeforeServe(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path := filepath.Join(t.TempDir(), "fwd.sock")
	k, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("the second one: %v", err)
	}
	asked := make(chan error, 1)
	go func() { _, err := NewClient(path).Status(t.Context()); asked <- err }()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Serve(ctx, hello(), slog.New(slog.DiscardHandler)) }()
	if err := <-asked; err != nil {
		t.Error(err)
	}
	cancel()
	if err := errors.Join(<-done, k.Close()); err != nil {
		t.Error(err)
	}
	k, err = Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

// The daemon unmaps the connection table after Serve: a handler that still walks
// through it then would kill the process.
func TestServeWaitsForHandlers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path := filepath.Join(t.TempDir(), "fwd.sock")
	entered, gone := make(chan struct{}), false
	stop := serve(t, path, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		for range 100 { // it does not look at the client just now
			time.Sleep(time.Millisecond)
		}
		gone = true
	}))
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	if err := stop(); err != nil {
		t.Error(err)
	}
	if !gone {
		t.Error("Serve has returned while a handler runs")
	}
}

func TestClientErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewClient(filepath.Join(dir, "none")).Status(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "is svm-fwd running?") || !strings.Contains(err.Error(), "--socket") {
		t.Errorf("no socket: %v", err)
	}
	path := filepath.Join(dir, "fwd.sock")
	stop := serve(t, path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/status":
			fail(w, absent("not today"))
		case "/v1/reload":
			http.Error(w, "a proxy's page", http.StatusBadGateway)
		case "/v1/connections":
			_, _ = io.WriteString(w, `{"protocol":"TCP"}`+"\n"+`{"proto`)
		}
	}))
	c := NewClient(path)
	var api *APIError
	if _, err := c.Status(t.Context()); !errors.As(err, &api) || api.Status != 404 || err.Error() != "not today" {
		t.Errorf("status: %v", err)
	}
	if _, err := c.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("reload: %v", err)
	}
	n := 0
	if err := c.Connections(t.Context(), ConnectionFilter{}, func(Connection) bool { n++; return true }); err == nil || n != 1 {
		t.Errorf("half an answer: %d connections, %v", n, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestClientTalksToControl sends each call through a real socket.
func TestClientTalksToControl(t *testing.T) {
	d := newDirector(t, farm)
	for i := range 4 {
		d.connect(client(i), web)
	}
	path := filepath.Join(t.TempDir(), "fwd.sock")
	stop := serve(t, path, d.Handler())
	c := NewClient(path)
	if s, err := c.Status(t.Context()); err != nil || s.Cluster != "shop" || s.Table.Used != 4 {
		t.Errorf("status %+v, %v", s, err)
	}
	if r, err := c.Reload(t.Context()); err != nil || r.Changed {
		t.Errorf("reload %+v, %v", r, err)
	}
	if v, err := c.Do(t.Context(), ServerAction{Service: "web", Server: "eps2", Action: "drain"}); err != nil || v.State != "drain" {
		t.Errorf("drain %+v, %v", v, err)
	}
	n := 0
	if err := c.Connections(t.Context(), ConnectionFilter{Server: "eps2"}, func(Connection) bool { n++; return n < 1 }); err != nil || n != 1 {
		t.Errorf("%d connections, %v", n, err)
	}
	var b strings.Builder
	if err := c.Metrics(t.Context(), &b); err != nil || !strings.Contains(b.String(), "svm_table_entries 4\n") {
		t.Errorf("metrics: %v\n%s", err, b.String())
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
