package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Client asks a running director over its Unix socket. It may be used by several
// goroutines and needs no closing.
type Client struct {
	path string
	http *http.Client
}

// NewClient makes a client; nothing is opened before the first call.
func NewClient(path string) *Client {
	d := net.Dialer{Timeout: 5 * time.Second}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: answerWithin,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// APIError is a director's answer that it can't or won't.
type APIError struct {
	Status int // HTTP's
	Text   string
}

// Error is the director's own words.
func (e *APIError) Error() string { return e.Text }

// ConnectionFilter chooses connections; what is empty does not count.
type ConnectionFilter struct {
	Service, Server string // by name
	Source          string // an address or a prefix
}

// Status returns the director at a glance.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Reload makes the director read its cluster file again. An error says why the
// file was refused; the old one is then still in force.
func (c *Client) Reload(ctx context.Context) (r ReloadReport, err error) {
	return r, c.call(ctx, http.MethodPost, "/v1/reload", nil, &r)
}

// Explain asks which server a packet would get; nothing changes.
func (c *Client) Explain(ctx context.Context, req ExplainRequest) (e Explanation, err error) {
	return e, c.call(ctx, http.MethodPost, "/v1/explain", req, &e)
}

// Do changes one server at run time and returns it as it is then.
func (c *Client) Do(ctx context.Context, a ServerAction) (v Server, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/server", a, &v)
}

// Connections calls visit for each connection, as they come, until it returns
// false. The order is the table's.
func (c *Client) Connections(ctx context.Context, f ConnectionFilter, visit func(Connection) bool) error {
	q := url.Values{}
	for name, v := range map[string]string{"service": f.Service, "server": f.Server, "source": f.Source} {
		if v != "" {
			q.Set(name, v)
		}
	}
	body, err := c.open(ctx, http.MethodGet, "/v1/connections?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var conn Connection
		if err := dec.Decode(&conn); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("connections from %s: %w", c.path, err)
		}
		if !visit(conn) {
			return nil
		}
	}
}

// Metrics copies the metrics to w, in Prometheus's text format.
func (c *Client) Metrics(ctx context.Context, w io.Writer) error {
	body, err := c.open(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

func (c *Client) call(ctx context.Context, method, path string, req, into any) error {
	body, err := c.open(ctx, method, path, req)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("answer from %s: %w (are svm-fwd and the daemon of one version?)", c.path, err)
	}
	return nil
}

// open sends a request and returns the body of a good answer.
func (c *Client) open(ctx context.Context, method, path string, req any) (io.ReadCloser, error) {
	var content io.Reader
	if req != nil {
		raw, err := json.Marshal(req)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://svm-fwd"+path, content)
	if err != nil {
		return nil, err
	}
	if content != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var e apiError
	if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&e) == nil && e.Error != "" {
		return nil, &APIError{resp.StatusCode, e.Error}
	}
	return nil, fmt.Errorf("%s answers %s", c.path, resp.Status)
}

// explain says what a failure to connect means.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no socket %s: is svm-fwd running? If it uses another socket, name it with --socket", c.path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody answers on %s: svm-fwd is not running any more. Start it again, or name another socket with --socket", c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may only be used by the user that svm-fwd runs as, and by root: try sudo", c.path)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("ask svm-fwd on %s: %w", c.path, err)
}
