package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// maxBody is the largest request body in bytes; the largest real one is below 1 KB.
const maxBody = 64 << 10

// The API never keeps a client waiting longer than this without sending anything.
const answerWithin = 30 * time.Second

// badRequest is an error of what was asked for, not of the director.
type badRequest struct {
	status int
	err    error
}

func (b *badRequest) Error() string { return b.err.Error() }
func (b *badRequest) Unwrap() error { return b.err }

// invalid says that a request makes no sense.
func invalid(format string, args ...any) error {
	return &badRequest{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

// absent says that there is no such thing.
func absent(format string, args ...any) error {
	return &badRequest{http.StatusNotFound, fmt.Errorf(format, args...)}
}

// apiError is the body of every answer that is not 2xx.
type apiError struct {
	Error string `json:"error"`
}

// Handler is the runtime API: HTTP and JSON in the types of this package.
//
//	GET  /v1/status       Status
//	GET  /v1/connections  one Connection a line; ?service= ?server= by name,
//	                      ?source= an address or a prefix
//	POST /v1/reload       ReloadReport
//	POST /v1/explain      ExplainRequest, answered by an Explanation
//	POST /v1/server       ServerAction, answered by the Server as it is then
//	GET  /v1/pair         PairStatus
//	POST /v1/pair/takeover and /v1/pair/release, answered by the PairStatus then
//	GET  /metrics         Prometheus text
//
// Errors are {"error": "in words"} with status 400 for a request that makes no
// sense, 404 for what is not there, 405 with Allow, 413, 422 for a cluster file
// that is refused, and 500. It may be served to whoever may rule the director: it
// asks for no password.
func (c *Control) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/status", get(c.getStatus))
	mux.HandleFunc("/v1/connections", get(c.getConnections))
	mux.HandleFunc("/v1/reload", post(c.postReload))
	mux.HandleFunc("/v1/explain", post(c.postExplain))
	mux.HandleFunc("/v1/server", post(c.postServer))
	mux.HandleFunc("/v1/pair", get(c.getPair))
	mux.HandleFunc("/v1/pair/takeover", post(c.postPair(Pair.Takeover)))
	mux.HandleFunc("/v1/pair/release", post(c.postPair(Pair.Release)))
	mux.HandleFunc("/metrics", get(c.MetricsHandler().ServeHTTP))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, absent("no %s in this API: see GET /v1/status", r.URL.Path))
	})
	return mux
}

func get(h http.HandlerFunc) http.HandlerFunc {
	return only(h, "GET, HEAD", http.MethodGet, http.MethodHead)
}

func post(h http.HandlerFunc) http.HandlerFunc {
	return only(h, "POST", http.MethodPost)
}

func only(h http.HandlerFunc, allow string, methods ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, m := range methods {
			if r.Method == m {
				r.Body = http.MaxBytesReader(w, r.Body, maxBody)
				h(w, r)
				return
			}
		}
		w.Header().Set("Allow", allow)
		fail(w, &badRequest{http.StatusMethodNotAllowed, fmt.Errorf("%s wants %s, not %s", r.URL.Path, allow, r.Method)})
	}
}

func (c *Control) getStatus(w http.ResponseWriter, _ *http.Request) { answer(w, c.Status()) }

func (c *Control) postReload(w http.ResponseWriter, r *http.Request) {
	if err := drain(r); err != nil {
		fail(w, err)
		return
	}
	report, err := c.Reload()
	if err != nil {
		fail(w, &badRequest{http.StatusUnprocessableEntity, err})
		return
	}
	answer(w, report)
}

func (c *Control) postExplain(w http.ResponseWriter, r *http.Request) {
	var req ExplainRequest
	err := decode(r, &req)
	if err == nil {
		var e Explanation
		if e, err = c.Explain(req); err == nil {
			answer(w, e)
			return
		}
	}
	fail(w, err)
}

func (c *Control) postServer(w http.ResponseWriter, r *http.Request) {
	var a ServerAction
	err := decode(r, &a)
	if err == nil {
		err = c.Do(a)
	}
	if err != nil {
		fail(w, err)
		return
	}
	for _, s := range c.Status().Services {
		for _, v := range s.Servers {
			if s.Name == a.Service && v.Name == a.Server {
				answer(w, v)
				return
			}
		}
	}
	fail(w, absent("server %s left service %s meanwhile", a.Server, a.Service))
}

// getConnections sends the table line by line, so that a million of connections
// take no memory. One line is one look at one entry; the table goes on meanwhile.
func (c *Control) getConnections(w http.ResponseWriter, r *http.Request) {
	match, err := filterConnections(r)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	ctl := http.NewResponseController(w)
	n := 0
	c.Connections(func(conn Connection) bool {
		if !match(&conn) {
			return true
		}
		if n++; n%1024 == 0 { // whoever keeps reading may take as long as it takes
			_ = ctl.SetWriteDeadline(time.Now().Add(answerWithin))
		}
		return enc.Encode(&conn) == nil
	})
}

// filterConnections reads the query of a request for connections.
func filterConnections(r *http.Request) (func(*Connection) bool, error) {
	q := r.URL.Query()
	for key := range q {
		switch key {
		case "service", "server", "source":
		default:
			return nil, invalid("no filter %q: there are service, server and source", key)
		}
	}
	source, err := parseSource(q.Get("source"))
	if err != nil {
		return nil, err
	}
	service, server := q.Get("service"), q.Get("server")
	return func(conn *Connection) bool {
		if server != "" && conn.Name != server || service != "" && conn.Service != service {
			return false
		}
		if !source.IsValid() {
			return true
		}
		from, err := netip.ParseAddrPort(conn.Source)
		return err == nil && source.Contains(from.Addr())
	}, nil
}

// parseSource reads an address or a prefix; "" gives the zero Prefix.
func parseSource(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, invalid("source %q: want an address or a prefix, such as 10.0.0.0/8", s)
	}
	return p.Masked(), nil
}

// decode reads a body that is one JSON object with no unknown names.
func decode(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one JSON value")
			if tooLarge(more) {
				err = more
			}
		}
	}
	return bodyError(err)
}

// drain reads a body that nothing is wanted of.
func drain(r *http.Request) error {
	_, err := io.Copy(io.Discard, r.Body)
	return bodyError(err)
}

func bodyError(err error) error {
	switch {
	case err == nil:
		return nil
	case tooLarge(err):
		return &badRequest{http.StatusRequestEntityTooLarge, fmt.Errorf("the body is longer than %d bytes", maxBody)}
	}
	return invalid("body: %w", err)
}

func tooLarge(err error) bool {
	var e *http.MaxBytesError
	return errors.As(err, &e)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error is the client's going away
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var b *badRequest
	if errors.As(err, &b) {
		status = b.status
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(apiError{err.Error()})
}
