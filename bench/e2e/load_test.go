package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

// load is requests that go on until they are told to stop.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	answered int
	byServer map[string]int
	errs     []error
}

// startLoad has each caller send requests one after the other.
func startLoad(t *testing.T, callers ...*farm.Caller) *load {
	l := &load{byServer: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	t.Cleanup(func() {
		cancel()
		l.wg.Wait()
	})
	for _, c := range callers {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				server, err := l.one(c, i)
				l.mu.Lock()
				if err != nil {
					l.errs = append(l.errs, fmt.Errorf("%s: %w", c.VIP, err))
				} else {
					l.answered++
					l.byServer[server]++
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

// one request is not cut short when the load stops.
func (l *load) one(c *farm.Caller, i int) (server string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch i % 10 {
	case 3:
		return c.Download(ctx, 200_000)
	case 7:
		return c.Upload(ctx, 100_000)
	}
	_, server, err = c.Page(ctx, fmt.Sprintf("/page?n=%d", i))
	return server, err
}

// more waits until so many further requests were answered.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.answered + len(l.errs)
	}
	from := count()
	if err := farm.Await(within(t), func() bool { return count() >= from+n }); err != nil {
		t.Fatalf("%d answers in %s, want %d", count()-from, patience, n)
	}
}

// stop ends the load: none of its requests may have failed.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	for i, err := range l.errs {
		if i == 5 {
			t.Errorf("and %d more failures", len(l.errs)-5)
			break
		}
		t.Error(err)
	}
	t.Logf("%d requests answered: %v", l.answered, l.byServer)
}

// held is a connection to a VIP that stays open between requests.
type held struct {
	conn   net.Conn
	read   *bufio.Reader
	server string // which answered first
}

// hold opens a connection and makes a first request.
func (r *rig) hold(t *testing.T, fam farm.Family, vip int) *held {
	t.Helper()
	c, err := r.Client.Dial(within(t), "tcp", net.JoinHostPort(r.MoreVIP(fam, vip), "80"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	h := &held{conn: c, read: bufio.NewReader(c)}
	if err := h.ask(); err != nil {
		t.Fatal(err)
	}
	return h
}

// ask makes a request on the open connection; the same server has to answer.
func (h *held) ask() error {
	if err := h.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(h.conn, "GET /held HTTP/1.1\r\nHost: farm\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(h.read, nil)
	if err != nil {
		return fmt.Errorf("connection to %s: %w", h.server, err)
	}
	defer resp.Body.Close()
	name := resp.Header.Get(farm.ServerHeader)
	if h.server == "" {
		h.server = name
	}
	want := farm.Greeting(name, h.conn.LocalAddr().String(), "/held")
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("connection to %s: %w", h.server, err)
	}
	if string(body) != want || name != h.server {
		return fmt.Errorf("%s answered %q, want %q from %s", name, body, want, h.server)
	}
	return nil
}

// holdEach holds connections of both families to VIPs, so many each.
func (r *rig) holdEach(t *testing.T, n int, vips ...int) (all []*held) {
	t.Helper()
	for _, fam := range farm.Both() {
		for _, vip := range vips {
			for range n {
				all = append(all, r.hold(t, fam, vip))
			}
		}
	}
	return all
}

// askAll wants an answer on all held connections.
func askAll(t *testing.T, what string, all []*held) {
	t.Helper()
	for _, h := range all {
		if err := h.ask(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
