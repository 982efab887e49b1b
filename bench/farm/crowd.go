package farm

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
	"time"
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

// Crowd is many open connections of the client: idle ones and slow transfers. It
// is used by one goroutine at a time.
type Crowd struct {
	f      *Farm
	hurry  chan struct{} // closed: no pauses any more
	moving atomic.Int64  // transfers that have begun and not ended
	wg     sync.WaitGroup
	idle   []*idle

	mu   sync.Mutex
	errs []error
	done int // transfers that came through
}

func (l *Crowd) result(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.done++
		return
	}
	l.errs = append(l.errs, fmt.Errorf("%s: %w", what, err))
}

// Gather opens so many idle connections, downloads and uploads, half of each
// family, and returns when all of them are under way.
func (f *Farm) Gather(ctx context.Context, idles, downloads, uploads int) (*Crowd, error) {
	l := &Crowd{f: f, hurry: make(chan struct{})}
	for i := range idles {
		c, err := f.hold(f.Families[i%len(f.Families)])
		if err != nil {
			l.Close()
			return nil, err
		}
		l.idle = append(l.idle, c)
	}
	if err := l.Move(ctx, downloads, uploads); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Move begins slow transfers, after those before have ended, and waits as long as
// the backup may take to learn of them.
func (l *Crowd) Move(ctx context.Context, downloads, uploads int) error {
	l.wind()
	l.hurry = make(chan struct{})
	l.done, l.errs = 0, nil
	for i := range downloads + uploads {
		move, what := l.download, "download"
		if i >= downloads {
			move, what = l.upload, "upload"
		}
		fam := l.f.Families[i%len(l.f.Families)]
		l.wg.Go(func() { l.result(fmt.Sprintf("%s over %s", what, fam), move(fam)) })
	}
	want := int64(downloads + uploads)
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	err := Await(ctx, func() bool { return l.moving.Load() == want || l.failures() > 0 })
	if err != nil || l.failures() > 0 {
		return fmt.Errorf("%d of %d transfers are under way: %w", l.moving.Load(), want, errors.Join(append(l.errs, err)...))
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(promise):
		return nil
	}
}

// Size is how many connections are open, or were.
func (l *Crowd) Size() (idle, moving int) { return len(l.idle), int(l.moving.Load()) }

func (l *Crowd) failures() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.errs)
}

func (l *Crowd) dial(fam Family) (net.Conn, error) {
	c, err := l.f.Client.Dial(context.Background(), "tcp", net.JoinHostPort(l.f.VIP(fam), "80"))
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetReadBuffer(smallBuf)
	_ = c.(*net.TCPConn).SetWriteBuffer(smallBuf)
	return c, c.SetDeadline(time.Now().Add(3 * readyWithin))
}

// rest is the pause between two pieces.
func (l *Crowd) rest() {
	select {
	case <-l.hurry:
	case <-time.After(pace):
	}
}

func (l *Crowd) download(fam Family) error {
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
			return fmt.Errorf("after %d bytes from %s: %w", n, resp.Header.Get(ServerHeader), err)
		}
		l.rest()
	}
	if !bytes.Equal(h.Sum(nil), ContentSum(slowSize)) {
		return errors.New("other bytes than were sent")
	}
	return nil
}

func (l *Crowd) upload(fam Family) error {
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
	content := Content(slowSize)
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
	if want := Receipt(slowSize, ContentSum(slowSize)); err == nil && string(answer) != want {
		err = fmt.Errorf("the server got %q, want %q", answer, want)
	}
	return err
}

// Finish lets the transfers end and asks on every idle connection. It returns what
// broke; idle connections that did are opened anew.
func (l *Crowd) Finish(what string) (broken []error) {
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
func (l *Crowd) ask() {
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
				if again, err := l.f.hold(c.fam); err == nil {
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
func (l *Crowd) wind() {
	select {
	case <-l.hurry:
	default:
		close(l.hurry)
	}
	l.wg.Wait()
}

// Close ends all connections.
func (l *Crowd) Close() {
	l.wind()
	for _, c := range l.idle {
		c.conn.Close()
	}
}

// idle is a connection that is kept open between requests.
type idle struct {
	fam    Family
	conn   net.Conn
	read   *bufio.Reader
	server string
}

func (f *Farm) hold(fam Family) (*idle, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	c, err := f.Client.Dial(ctx, "tcp", net.JoinHostPort(f.VIP(fam), "80"))
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
	if err := h.conn.SetDeadline(time.Now().Add(readyWithin)); err != nil {
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
	name := resp.Header.Get(ServerHeader)
	if h.server == "" {
		h.server = name
	}
	body, err := io.ReadAll(resp.Body)
	if want := Greeting(h.server, h.conn.LocalAddr().String(), "/held"); err == nil && string(body) != want {
		err = fmt.Errorf("answered %q, want %q", body, want)
	}
	return err
}
