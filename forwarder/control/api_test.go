package control

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// ask sends one request to the API without a socket.
func (d *director) ask(method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func into[T any](t *testing.T, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("status %d: %v", w.Code, err)
	}
	return v
}

func TestAPIErrors(t *testing.T) {
	d := newDirector(t, farm)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"no such path", "GET", "/v1/nothing", "", 404, "/v1/nothing"},
		{"root", "GET", "/", "", 404, "GET /v1/status"},
		{"below a path", "GET", "/v1/status/x", "", 404, ""},
		{"write to status", "POST", "/v1/status", "{}", 405, "GET, HEAD"},
		{"delete connections", "DELETE", "/v1/connections", "", 405, "DELETE"},
		{"read reload", "GET", "/v1/reload", "", 405, "wants POST"},
		{"read server", "GET", "/v1/server", "", 405, "wants POST"},
		{"post metrics", "POST", "/metrics", "", 405, ""},
		{"empty action", "POST", "/v1/server", "", 400, "EOF"},
		{"no JSON", "POST", "/v1/server", "drain it", 400, "body"},
		{"JSON of another kind", "POST", "/v1/server", "[]", 400, "body"},
		{"unknown name", "POST", "/v1/server", `{"services":"web"}`, 400, "services"},
		{"two values", "POST", "/v1/server", `{} {}`, 400, "more than one"},
		{"too much", "POST", "/v1/server", `{"service":"` + strings.Repeat("x", maxBody) + `"}`, 413, "longer than 65536 bytes"},
		{"too much behind", "POST", "/v1/server", `{}` + strings.Repeat(" ", maxBody), 413, "longer"},
		{"too much to reload", "POST", "/v1/reload", strings.Repeat(" ", maxBody+1), 413, "longer"},
		{"no service", "POST", "/v1/server", `{"service":"ftp","server":"eps1","action":"drain"}`, 404, "there are web, mail"},
		{"no server", "POST", "/v1/server", `{"service":"web","server":"eps3","action":"drain"}`, 404, "there are eps1, eps2"},
		{"no action", "POST", "/v1/server", `{"service":"web","server":"eps1","action":"kill"}`, 400, "want drain"},
		{"weight", "POST", "/v1/server", `{"service":"web","server":"eps1","action":"weight","weight":-1}`, 400, "0 to 65535"},
		{"source", "GET", "/v1/connections?source=here", "", 400, "want an address or a prefix"},
		{"filter", "GET", "/v1/connections?port=80", "", 400, "there are service, server and source"},
		{"explain nothing", "POST", "/v1/explain", `{}`, 400, "src"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := d.ask(tt.method, tt.path, tt.body)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type %q", got)
			}
			if e := into[apiError](t, w); e.Error == "" || !strings.Contains(e.Error, tt.says) {
				t.Errorf("error %q does not say %q", e.Error, tt.says)
			}
		})
	}
}

func TestAPIStatus(t *testing.T) {
	d := newDirector(t, farm)
	d.connect(client(1), web)
	got := into[Status](t, d.ask("GET", "/v1/status", ""))
	want := d.Status()
	got.Started, want.Started = got.Started.UTC(), want.Started.UTC()
	if !got.Started.Equal(want.Started) {
		t.Errorf("started %v, want %v", got.Started, want.Started)
	}
	got.Started, got.Configured = want.Started, want.Configured
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if w := d.ask("HEAD", "/v1/status", ""); w.Code != http.StatusOK {
		t.Errorf("HEAD: %d", w.Code)
	}
}

func TestAPIServer(t *testing.T) {
	d := newDirector(t, farm)
	v := into[Server](t, d.ask("POST", "/v1/server", `{"service":"web","server":"eps1","action":"weight","weight":7}`))
	if v.Name != "eps1" || v.Weight != 7 || v.Configured != 1 || v.State != "ready" {
		t.Errorf("got %+v", v)
	}
	v = into[Server](t, d.ask("POST", "/v1/server", `{"service":"web","server":"eps1","action":"drain"}`))
	if v.State != "drain" || v.Weight != 0 || v.Why == "" {
		t.Errorf("got %+v", v)
	}
	for i := range 6 {
		if to := d.connect(client(i), web); to != 12 {
			t.Errorf("connection %d went to %d, want the server that is not drained", i, to)
		}
	}
	if v = into[Server](t, d.ask("POST", "/v1/server", `{"service":"web","server":"eps1","action":"ready"}`)); v.State != "ready" || v.Weight != 1 {
		t.Errorf("got %+v", v)
	}
}

func TestAPIReload(t *testing.T) {
	d := newDirector(t, farm)
	if r := into[ReloadReport](t, d.ask("POST", "/v1/reload", "")); r.Changed {
		t.Errorf("nothing changed, but %+v", r)
	}
	d.write(strings.Replace(farm, "[{name: eps1}, {name: eps2}]", "[{name: eps1}, {name: eps3}]", 1))
	r := into[ReloadReport](t, d.ask("POST", "/v1/reload", ""))
	if want := []string{"service web: server eps2 removed", "service web: server eps3 added with weight 1"}; !slices.Equal(r.Changes, want) {
		t.Errorf("got %q, want %q", r.Changes, want)
	}
	d.write("cluster: shop\nsevrices: []\n")
	w := d.ask("POST", "/v1/reload", "")
	if e := into[apiError](t, w); w.Code != http.StatusUnprocessableEntity || !strings.Contains(e.Error, "sevrices") {
		t.Errorf("status %d, error %q", w.Code, e.Error)
	}
	if s := into[Status](t, d.ask("GET", "/v1/status", "")); !strings.Contains(s.Rejected, "sevrices") || len(s.Services) != 2 {
		t.Errorf("after a refused file: %+v", s)
	}
}

func TestAPIConnections(t *testing.T) {
	d := newDirector(t, farm)
	for i := range 10 {
		d.connect(client(i), web)
	}
	d.connect("203.0.113.9:4000", mail)
	for _, tt := range []struct {
		query string
		want  int
	}{
		{"", 11}, {"?service=web", 10}, {"?service=mail", 1}, {"?service=ftp", 0}, {"?server=eps1", 6}, {"?service=web&server=eps2", 5},
		{"?source=203.0.113.9", 1}, {"?source=203.0.113.0/24", 1}, {"?source=198.51.100.99/24", 10}, {"?source=2001:db8::/32", 0},
		{"?source=%3a%3affff:203.0.113.9", 1}, {"?service=mail&source=198.51.100.7", 0},
	} {
		w := d.ask("GET", "/v1/connections"+tt.query, "")
		if got := w.Header().Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("Content-Type %q", got)
		}
		n := 0
		for dec := json.NewDecoder(w.Body); ; n++ {
			var c Connection
			if err := dec.Decode(&c); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if c.Protocol != "TCP" || c.State != "ESTABLISHED" || c.Expires <= 0 || c.Expires > 901*time.Second || c.Service == "" || c.Name == "" {
				t.Errorf("%+v", c)
			}
		}
		if n != tt.want {
			t.Errorf("%q gives %d connections, want %d", tt.query, n, tt.want)
		}
	}
}

// TestAPIConnectionsNoMemory: a listing must not grow with the table.
func TestAPIConnectionsNoMemory(t *testing.T) {
	d := newDirector(t, farm)
	for i := range 3000 {
		d.connect(client(i), web)
	}
	r := httptest.NewRequest("GET", "/v1/connections", nil)
	w := &countingWriter{header: http.Header{}}
	d.Handler().ServeHTTP(w, r)
	if w.lines != 3000 {
		t.Errorf("%d connections, want 3000", w.lines)
	}
	if w.largest > 1<<10 {
		t.Errorf("%d bytes in one write: one connection each was wanted", w.largest)
	}
}

// TestAPIClientGone: whoever goes away ends the walk over the table.
func TestAPIClientGone(t *testing.T) {
	d := newDirector(t, farm)
	for i := range 100 {
		d.connect(client(i), web)
	}
	w := &countingWriter{header: http.Header{}, fail: 5}
	d.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/connections", nil))
	if w.lines != 5 {
		t.Errorf("%d writes after the client was gone", w.lines-5)
	}
}

type countingWriter struct {
	header               http.Header
	lines, largest, fail int
}

func (w *countingWriter) Header() http.Header { return w.header }
func (w *countingWriter) WriteHeader(int)     {}
func (w *countingWriter) Write(b []byte) (int, error) {
	w.lines++
	w.largest = max(w.largest, len(b))
	if w.lines == w.fail {
		return 0, os.ErrClosed
	}
	return len(b), nil
}
