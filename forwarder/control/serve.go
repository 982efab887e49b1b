package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Socket is the runtime API's Unix socket, of mode 0600 from the moment it is there.
type Socket struct {
	path string
	l    net.Listener
	made fs.FileInfo
}

// Listen makes the socket; until Serve its callers wait. A missing parent directory
// is made with mode 0755 and stays. A socket that nobody listens on any more is
// replaced; one that answers, or a file that is no socket, is an error. So a daemon
// that listens before it touches the host does so alone.
func Listen(ctx context.Context, path string) (*Socket, error) {
	l, err := listen(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("runtime API: %w", err)
	}
	made, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("runtime API: %w", err), l.Close())
	}
	return &Socket{path: path, l: l, made: made}, nil
}

// Close takes the socket away. Serve does it, too; twice is harmless.
func (k *Socket) Close() error {
	_ = k.l.Close()
	// Another daemon may have put its own there after somebody deleted ours.
	if now, err := os.Lstat(k.path); err == nil && os.SameFile(k.made, now) {
		return os.Remove(k.path)
	}
	return nil
}

// Serve is Listen and Socket.Serve.
func Serve(ctx context.Context, path string, h http.Handler, log *slog.Logger) error {
	k, err := Listen(ctx, path)
	if err != nil {
		return err
	}
	return k.Serve(ctx, h, log)
}

// Serve answers until ctx ends; then it lets requests under way finish for a moment
// and removes the socket. No handler runs any more when it returns: what they read
// may then be taken away.
func (k *Socket) Serve(ctx context.Context, h http.Handler, log *slog.Logger) error {
	defer k.Close()
	var calls gate
	s := &http.Server{
		Handler:           calls.guard(h),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      answerWithin,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if s.Shutdown(grace) != nil {
			_ = s.Close()
		}
	})
	log.Info("runtime API", "socket", k.path)
	err := s.Serve(k.l)
	if !stop() {
		<-stopped
	}
	calls.shut(s)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("runtime API on %s: %w", k.path, err)
}

// gate counts the handlers that run. http.Server.Close ends their connections, but
// does not wait for them.
type gate struct {
	mu   sync.RWMutex
	down bool
}

func (g *gate) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.RLock()
		defer g.mu.RUnlock()
		if !g.down {
			h.ServeHTTP(w, r)
		}
	})
}

// shut closes the server's connections and waits until no handler runs.
func (g *gate) shut(s *http.Server) {
	_ = s.Close()
	g.mu.Lock()
	g.down = true
	g.mu.Unlock()
}

func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	cfg := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		// bind gives the file the mode of the socket itself.
		return errors.Join(raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }), err)
	}}
	l, err := cfg.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // Serve does, when it is still ours
	return l, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket: choose another --socket, or remove it", path)
	}
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another process answers on %s: stop it first, or choose another --socket", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s is there, and it can't be told whether it is in use: %w", path, err)
	}
	return os.Remove(path)
}
