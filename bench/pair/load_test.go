package pair

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

// Established connections of three kinds, and how much the slow ones carry.
const (
	slowSize = 1 << 20
	piece    = 8 << 10
	pace     = 40 * time.Millisecond // between pieces of a slow transfer
	smallBuf = 16 << 10              // of the client's sockets, so that a slow reader is felt
)

// promise is how soon the backup has a new connection. One that is younger when
// the active director ends may break.
const promise = 50 * time.Millisecond

// load is many open connections.
type load struct {
	r      *rig
	hurry  chan struct{} // closed: no pauses any more
	moving atomic.Int64  // transfers that have begun and not ended
	wg     sync.WaitGroup
	idle   []*idle

	mu   sync.Mutex
	errs []error
	done int // transfers that came through
}

func (l *load) result(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.done++
		return
	}
	l.errs = append(l.errs, fmt.Errorf("%s: %w", what, err))
}

// open opens so many idle connections, downloads and uploads, half of each
// family, and returns when all of them are under way.
func (r *rig) open(t testing.TB, idles, downloads, uploads int) *load {
	t.Helper()
	l := &load{r: r, hurry: make(chan struct{})}
	t.Cleanup(l.close)
	for i := range idles {
		c, err := r.hold(farm.Both()[i%2])
		if err != nil {
			r.check(t, err)
		}
		l.idle = append(l.idle, c)
	}
	l.transfer(t, downloads, uploads)
	return l
}

// transfer begins slow transfers, after those before have ended.
func (l *load) transfer(t testing.TB, downloads, uploads int) {
	t.Helper()
	l.wind()
	l.hurry = make(chan struct{})
	l.done, l.errs = 0, nil
	for i := range downloads + uploads {
		move, what := l.download, "download"
		if i >= downloads {
			move, what = l.upload, "upload"
		}
		fam := farm.Both()[i%2]
		l.wg.Go(func() { l.result(fmt.Sprintf("%s over %s", what, fam), move(fam)) })
	}
	want := int64(downloads + uploads)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := farm.Await(ctx, func() bool { return l.moving.Load() == want || l.failures() > 0 }); err != nil || l.failures() > 0 {
		t.Fatalf("%d of %d transfers are under way: %v\n%s", l.moving.Load(), want, errors.Join(l.errs...), l.r.Logs(20))
	}
	time.Sleep(promise)
}

func (l *load) failures() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.errs)
}

func (l *load) dial(fam farm.Family) (net.Conn, error) {
	c, err := l.r.Client.Dial(context.Background(), "tcp", net.JoinHostPort(l.r.VIP(fam), "80"))
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetReadBuffer(smallBuf)
	_ = c.(*net.TCPConn).SetWriteBuffer(smallBuf)
	return c, c.SetDeadline(time.Now().Add(3 * patience))
}

// rest is the pause between two pieces.
func (l *load) rest() {
	select {
	case <-l.hurry:
	case <-time.After(pace):
	}
}

func (l *load) download(fam farm.Family) error {
	c, err := l.dial(fam)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET /bytes/%d HTTP/1.1\r\nHost: farm\r\n\r\n", slowSize); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, piece), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	l.moving.Add(1)
	defer l.moving.Add(-1)
	h := sha256.New()
	for n := int64(0); n < slowSize; {
		more, err := io.CopyN(h, resp.Body, piece)
		if n += more; err != nil {
			return fmt.Errorf("after %d bytes from %s: %w", n, resp.Header.Get(farm.ServerHeader), err)
		}
		l.rest()
	}
	if !bytes.Equal(h.Sum(nil), farm.ContentSum(slowSize)) {
		return errors.New("other bytes than were sent")
	}
	return nil
}

func (l *load) upload(fam farm.Family) error {
	c, err := l.dial(fam)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "POST /upload HTTP/1.1\r\nHost: farm\r\nContent-Length: %d\r\n\r\n", slowSize); err != nil {
		return err
	}
	l.moving.Add(1)
	defer l.moving.Add(-1)
	content := farm.Content(slowSize)
	for n := int64(0); n < slowSize; {
		more, err := io.CopyN(c, content, piece)
		if n += more; err != nil {
			return fmt.Errorf("after %d bytes: %w", n, err)
		}
		l.rest()
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if want := farm.Receipt(slowSize, farm.ContentSum(slowSize)); err == nil && string(answer) != want {
		err = fmt.Errorf("the server got %q, want %q", answer, want)
	}
	return err
}

// finish lets the transfers end and asks on every idle connection. It returns what
// broke; idle connections that did are opened anew.
func (l *load) finish(what string) (broken []error) {
	l.wind()
	l.ask()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, err := range l.errs {
		broken = append(broken, fmt.Errorf("%s: %w", what, err))
	}
	l.errs = nil
	return broken
}

// ask sends a request over each idle connection.
func (l *load) ask() {
	work := make(chan *idle)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for c := range work {
				err := c.ask()
				if err == nil {
					continue
				}
				l.result("idle connection to "+c.server, err)
				if again, err := l.r.hold(c.fam); err == nil {
					c.conn.Close()
					*c = *again
				}
			}
		})
	}
	for _, c := range l.idle {
		work <- c
	}
	close(work)
	wg.Wait()
}

// wind lets the transfers end.
func (l *load) wind() {
	select {
	case <-l.hurry:
	default:
		close(l.hurry)
	}
	l.wg.Wait()
}

func (l *load) close() {
	l.wind()
	for _, c := range l.idle {
		c.conn.Close()
	}
}

// idle is a connection that is kept open between requests.
type idle struct {
	fam    farm.Family
	conn   net.Conn
	read   *bufio.Reader
	server string
}

func (r *rig) hold(fam farm.Family) (*idle, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := r.Client.Dial(ctx, "tcp", net.JoinHostPort(r.VIP(fam), "80"))
	if err != nil {
		return nil, err
	}
	h := &idle{fam: fam, conn: c, read: bufio.NewReader(c)}
	if err := h.ask(); err != nil {
		c.Close()
		return nil, err
	}
	return h, nil
}

// ask makes a request; the server of the first one has to answer.
func (h *idle) ask() error {
	if err := h.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(h.conn, "GET /held HTTP/1.1\r\nHost: farm\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(h.read, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	name := resp.Header.Get(farm.ServerHeader)
	if h.server == "" {
		h.server = name
	}
	body, err := io.ReadAll(resp.Body)
	if want := farm.Greeting(h.server, h.conn.LocalAddr().String(), "/held"); err == nil && string(body) != want {
		err = fmt.Errorf("answered %q, want %q", body, want)
	}
	return err
}
