package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// tally is what came of the requests of one family. Safe for concurrent use.
type tally struct {
	mu       sync.Mutex
	want     int // requests to send
	done     int // answered correctly
	failed   int
	byServer map[string]int
	took     []time.Duration
	errs     []error // the first few
}

// keepErrors is how many failures are kept to be shown.
const keepErrors = 3

func newTally(want int) *tally { return &tally{want: want, byServer: map[string]int{}} }

func (t *tally) add(server string, took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failed++
		if len(t.errs) < keepErrors {
			t.errs = append(t.errs, err)
		}
		return
	}
	t.done++
	t.byServer[server]++
	t.took = append(t.took, took)
}

// errHopeless stands for a request that was not sent any more.
var errHopeless = errors.New("not sent: too many failed before")

func (t *tally) hopeless() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed >= giveUpAfter
}

// figures is a copy of a tally at one moment.
type figures struct {
	want, done, failed int
	byServer           map[string]int
	p50, p99           time.Duration
	errs               []error
}

func (t *tally) figures() figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := figures{want: t.want, done: t.done, failed: t.failed, errs: slices.Clone(t.errs), byServer: map[string]int{}}
	for k, v := range t.byServer {
		f.byServer[k] = v
	}
	if len(t.took) > 0 {
		s := slices.Clone(t.took)
		slices.Sort(s)
		f.p50, f.p99 = s[len(s)/2], s[len(s)*99/100]
	}
	return f
}

// caller sends HTTP requests from the client to one VIP, each on a connection of
// its own, from a different address each time.
type caller struct {
	farm *farm
	fam  family
	http *http.Client
	next atomic.Uint64 // connections so far
}

// requestTimeout is how long one ordinary request may take. A lost SYN is sent
// again after one second, so it shows in p99 but is not yet a failure.
const requestTimeout = 10 * time.Second

func newCaller(f *farm, fam family) *caller {
	c := &caller{farm: f, fam: fam}
	c.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host := clientHost + int(c.next.Add(1))%clientAddrs
			local := &net.TCPAddr{IP: net.ParseIP(internet.addr(fam, host))}
			return f.client.DialFrom(ctx, network, local, addr)
		},
	}}
	return c
}

// giveUpAfter is the number of failures after which a family's other requests
// are not sent any more: they count as failed, too.
const giveUpAfter = 50

// run sends the requests from several workers until all are answered, the
// context ends, or too many have failed; then the rest count as failed.
func (c *caller) run(ctx context.Context, t *tally, workers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(t.want) {
					return
				}
				start := time.Now()
				if t.hopeless() {
					t.add("", 0, errHopeless)
					continue
				}
				server, err := c.one(ctx, int(i))
				t.add(server, time.Since(start), err)
			}
		})
	}
	wg.Wait()
}

// one sends request i: mostly small pages, now and then a download or an upload.
func (c *caller) one(ctx context.Context, i int) (server string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	switch {
	case i%20 == 7:
		return c.download(ctx, 100_000)
	case i%20 == 17:
		return c.upload(ctx, 50_000)
	}
	_, server, err = c.page(ctx, fmt.Sprintf("/page?n=%d", i))
	return server, err
}

// page fetches one page and checks every byte of it.
func (c *caller) page(ctx context.Context, uri string) (body []byte, server string, err error) {
	var local string
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { local = i.Conn.LocalAddr().String() },
	})
	resp, err := c.do(ctx, http.MethodGet, uri, nil, 0)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", fmt.Errorf("GET %s: %w", uri, err)
	}
	server = resp.Header.Get(serverHeader)
	if want := greeting(server, local, uri); string(body) != want {
		return nil, "", fmt.Errorf("GET %s: got %q, want %q", uri, body, want)
	}
	return body, server, nil
}

// download fetches n bytes and checks their sum.
func (c *caller) download(ctx context.Context, n int64) (server string, err error) {
	uri := fmt.Sprintf("/bytes/%d", n)
	resp, err := c.do(ctx, http.MethodGet, uri, nil, 0)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	h := sha256.New()
	got, err := io.Copy(h, resp.Body)
	if err != nil {
		return "", fmt.Errorf("GET %s: after %d bytes: %w", uri, got, err)
	}
	if got != n || !bytes.Equal(h.Sum(nil), contentSum(n)) {
		return "", fmt.Errorf("GET %s: got %d bytes, other ones than were sent", uri, got)
	}
	return resp.Header.Get(serverHeader), nil
}

// upload sends n bytes and checks what the server says it got.
func (c *caller) upload(ctx context.Context, n int64) (server string, err error) {
	resp, err := c.do(ctx, http.MethodPost, "/upload", content(n), n)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("POST: %w", err)
	}
	if want := receipt(n, contentSum(n)); string(body) != want {
		return "", fmt.Errorf("POST: server got %q, sent %q", strings.TrimSpace(string(body)), strings.TrimSpace(want))
	}
	return resp.Header.Get(serverHeader), nil
}

// do sends a request to the VIP. An answer from no known server is an error.
func (c *caller) do(ctx context.Context, method, uri string, body io.Reader, length int64) (*http.Response, error) {
	url := "http://" + net.JoinHostPort(c.farm.vip(c.fam), "80") + uri
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	server := resp.Header.Get(serverHeader)
	if resp.StatusCode != http.StatusOK || !c.farm.isServer(server) {
		resp.Body.Close()
		return nil, fmt.Errorf("%s %s: status %s from server %q", method, uri, resp.Status, server)
	}
	return resp, nil
}

func (f *farm) isServer(name string) bool {
	for _, s := range f.servers {
		if s.Name() == name {
			return true
		}
	}
	return false
}
