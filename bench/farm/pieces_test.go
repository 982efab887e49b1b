package farm

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWebServer(t *testing.T) {
	srv := httptest.NewServer(WebServer("eps9"))
	defer srv.Close()
	get := func(method, path string, body io.Reader) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get(ServerHeader); got != "eps9" {
			t.Errorf("%s: server %q", path, got)
		}
		return resp.StatusCode, string(b)
	}
	if code, body := get("GET", "/x?n=1", nil); code != 200 || !strings.HasPrefix(body, "eps9 says hello to 127.0.0.1:") || !strings.HasSuffix(body, " asked for /x?n=1\n") {
		t.Errorf("page: %d %q", code, body)
	}
	if code, body := get("GET", "/healthz", nil); code != 200 || body != "ok\n" {
		t.Errorf("health: %d %q", code, body)
	}
	if code, body := get("GET", "/bytes/100000", nil); code != 200 || len(body) != 100000 || fmt.Sprintf("%x", sha256.Sum256([]byte(body))) != fmt.Sprintf("%x", ContentSum(100000)) {
		t.Errorf("download: %d, %d bytes", code, len(body))
	}
	if code, _ := get("GET", "/bytes/many", nil); code != 400 {
		t.Errorf("bad size: %d", code)
	}
	want := fmt.Sprintf("5 bytes, sha256 %x\n", sha256.Sum256([]byte("hello")))
	for _, method := range []string{"PUT", "POST"} {
		if code, body := get(method, "/any", strings.NewReader("hello")); code != 200 || body != want {
			t.Errorf("%s: %d %q", method, code, body)
		}
	}
}

func TestUnready(t *testing.T) {
	type servers = []struct{ Name, State, Why, MAC string }
	mk := func(role string, s servers) *status {
		st := &status{Role: role}
		if s != nil {
			st.Services = append(st.Services, struct {
				Name    string
				Servers []struct{ Name, State, Why, MAC string }
			}{"web4", s})
		}
		return st
	}
	for name, c := range map[string]struct {
		st   *status
		role string
		ok   bool
	}{
		"ready":             {mk("active", servers{{"eps1", "ready", "", "02::"}}), "active", true},
		"one down":          {mk("active", servers{{"eps1", "ready", "", "02::"}, {"eps2", "down", "refused", "02::"}}), "active", false},
		"other role":        {mk("backup", servers{{"eps1", "ready", "", "02::"}}), "active", false},
		"no servers":        {mk("active", nil), "active", false},
		"backup unchecked":  {mk("backup", servers{{"eps1", "checking", "", "02::"}}), "backup", true},
		"backup unresolved": {mk("backup", servers{{"eps1", "unresolved", "", ""}}), "backup", false},
	} {
		if got := c.st.unready(c.role); (got == "") != c.ok {
			t.Errorf("%s: %q", name, got)
		}
	}
}
