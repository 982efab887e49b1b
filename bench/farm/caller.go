package farm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

// Caller sends HTTP requests from the client to one VIP, each on a connection of
// its own. Safe for concurrent use once its fields are set.
type Caller struct {
	Family Family
	VIP    string
	From   string // the client's address; empty: a different one each time

	farm *Farm
	http *http.Client
	next atomic.Uint64 // connections so far
}

// Caller makes a caller of the family's first VIP.
func (f *Farm) Caller(fam Family) *Caller {
	c := &Caller{Family: fam, VIP: f.VIP(fam), farm: f}
	c.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext:        c.dial,
	}}
	return c
}

func (c *Caller) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	from := c.From
	if from == "" {
		from = Internet().Addr(c.Family, ClientHost+int(c.next.Add(1))%ClientAddrs)
	}
	return c.farm.Client.DialFrom(ctx, network, &net.TCPAddr{IP: net.ParseIP(from)}, addr)
}

// Page fetches one page and checks every byte of it.
func (c *Caller) Page(ctx context.Context, uri string) (body []byte, server string, err error) {
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
	server = resp.Header.Get(ServerHeader)
	if want := Greeting(server, local, uri); string(body) != want {
		return nil, "", fmt.Errorf("GET %s: got %q, want %q", uri, body, want)
	}
	return body, server, nil
}

// Download fetches n bytes and checks their sum.
func (c *Caller) Download(ctx context.Context, n int64) (server string, err error) {
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
	if got != n || !bytes.Equal(h.Sum(nil), ContentSum(n)) {
		return "", fmt.Errorf("GET %s: got %d bytes, other ones than were sent", uri, got)
	}
	return resp.Header.Get(ServerHeader), nil
}

// Upload sends n bytes and checks what the server says it got.
func (c *Caller) Upload(ctx context.Context, n int64) (server string, err error) {
	resp, err := c.do(ctx, http.MethodPost, "/upload", Content(n), n)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("POST: %w", err)
	}
	if want := Receipt(n, ContentSum(n)); string(body) != want {
		return "", fmt.Errorf("POST: server got %q, sent %q", strings.TrimSpace(string(body)), strings.TrimSpace(want))
	}
	return resp.Header.Get(ServerHeader), nil
}

// do sends a request to the VIP. An answer from no known server is an error.
func (c *Caller) do(ctx context.Context, method, uri string, body io.Reader, length int64) (*http.Response, error) {
	url := "http://" + net.JoinHostPort(c.VIP, "80") + uri
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	server := resp.Header.Get(ServerHeader)
	if resp.StatusCode != http.StatusOK || !c.farm.isServer(server) {
		resp.Body.Close()
		return nil, fmt.Errorf("%s %s: status %s from server %q", method, uri, resp.Status, server)
	}
	return resp, nil
}

func (f *Farm) isServer(name string) bool {
	for _, s := range f.EPS {
		if s.Name() == name {
			return true
		}
	}
	return false
}
