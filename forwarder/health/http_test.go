package health

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func answering(t *testing.T, answer string) netip.AddrPort {
	return serve(t, func(_ context.Context, c net.Conn) {
		readHead(c)
		io.WriteString(c, answer)
	})
}

func TestHTTP(t *testing.T) {
	noLeak(t)
	const short = 50 * time.Millisecond
	hang := func(answer string) netip.AddrPort {
		return serve(t, func(ctx context.Context, c net.Conn) {
			readHead(c)
			io.WriteString(c, answer)
			<-ctx.Done()
		})
	}
	for _, tt := range []struct {
		name    string
		addr    netip.AddrPort
		spec    Spec
		outcome Outcome
		text    string
	}{
		{"200", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Spec{}, Pass, "HTTP status 200"},
		{"chunked", answering(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), Spec{}, Pass, "HTTP status 200"},
		{"body until close", answering(t, "HTTP/1.1 200 OK\r\n\r\nok"), Spec{}, Pass, "HTTP status 200"},
		{"HTTP/1.0", answering(t, "HTTP/1.0 204 Fine\r\n\r\n"), Spec{}, Pass, "HTTP status 204"},
		{"a redirect is up and not followed", answering(t, "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"), Spec{}, Pass, "HTTP status 302"},
		{"503", answering(t, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), Spec{}, Fail, "HTTP status 503, want 200-399"},
		{"404 is wanted", answering(t, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), Spec{Status: []int{404}}, Pass, "HTTP status 404"},
		{"200 is not wanted", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Spec{Status: []int{301, 200 + 4, 203, 202}}, Fail, "HTTP status 200, want 202-204, 301"},
		{"interim answers", answering(t, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Spec{}, Pass, "HTTP status 200"},
		{"too many of them", answering(t, strings.Repeat("HTTP/1.1 100 Go\r\n\r\n", 100)), Spec{}, Fail, "more than 5 interim answers, the last with HTTP status 100"},
		{"closed at once", answering(t, ""), Spec{}, Fail, "connection closed while waiting for the answer"},
		{"closed in the header", answering(t, "HTTP/1.1 200 OK\r\nA: b"), Spec{}, Fail, "connection closed while waiting for the answer"},
		{"closed in the body", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"), Spec{}, Fail, "connection closed while reading the body"},
		{"not HTTP", answering(t, "SSH-2.0-OpenSSH_9.2\r\n\r\n"), Spec{}, Fail, `malformed HTTP response "SSH-2.0-OpenSSH_9.2" while waiting for the answer`},
		{"refused", unused(t), Spec{}, Fail, "connection refused"},
		{"no answer", hang(""), Spec{Timeout: short}, Fail, "timeout after 50ms while waiting for the answer"},
		{"no body", hang("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), Spec{Timeout: short}, Fail, "timeout after 50ms while reading the body"},
		{"a bad path", unused(t), Spec{Path: "/a b"}, Fail, `check.path "/a b" holds a space or control character; write it percent-encoded`},
		{"a path with a header in it", unused(t), Spec{Path: "/\r\nX: y"}, Fail, `check.path "/\r\nX: y" holds a space or control character; write it percent-encoded`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Type = HTTP
			want(t, check(t, Target{Addr: tt.addr, Spec: tt.spec}), tt.outcome, tt.text)
		})
	}
}

func TestHTTPRequest(t *testing.T) {
	const tail = "\r\nUser-Agent: svm-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
	for _, tt := range []struct {
		typ, addr, path, host, want string
	}{
		{HTTP, "192.0.2.1:80", "", "", "GET / HTTP/1.1\r\nHost: 192.0.2.1"},
		{HTTP, "192.0.2.1:8080", "/x?y=z", "", "GET /x?y=z HTTP/1.1\r\nHost: 192.0.2.1:8080"},
		{HTTP, "192.0.2.1:80", "healthz", "shop.example", "GET /healthz HTTP/1.1\r\nHost: shop.example"},
		{HTTP, "[2001:db8::1]:80", "", "", "GET / HTTP/1.1\r\nHost: [2001:db8::1]"},
		{HTTPS, "[2001:db8::1]:443", "", "", "GET / HTTP/1.1\r\nHost: [2001:db8::1]"},
		{HTTPS, "192.0.2.1:80", "", "", "GET / HTTP/1.1\r\nHost: 192.0.2.1:80"},
	} {
		x := Target{Addr: netip.MustParseAddrPort(tt.addr), Spec: Spec{Type: tt.typ, Path: tt.path, Host: tt.host}}
		p := probe{Target: x.withDefaults()}
		if got, err := p.request(); err != nil || got != tt.want+tail {
			t.Errorf("got %q, %v\nwant %q", got, err, tt.want+tail)
		}
	}
}

func TestHTTPS(t *testing.T) {
	noLeak(t)
	names := make(chan string, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names <- r.TLS.ServerName + " " + r.Host
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true // the check must not agree on it
	s.StartTLS()
	defer s.Close()
	addr := s.Listener.Addr().(*net.TCPAddr).AddrPort()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	for _, tt := range []struct {
		name    string
		spec    Spec
		roots   *x509.CertPool
		outcome Outcome
		text    string
		seen    string // SNI and Host
	}{
		{"not verified", Spec{}, nil, Pass, "HTTP status 200", " " + addr.String()},
		{"SNI is Host", Spec{Host: "shop.example:443"}, nil, Pass, "HTTP status 200", "shop.example shop.example:443"},
		{"verified", Spec{Host: "example.com", VerifyCertificate: true}, roots, Pass, "HTTP status 200", "example.com example.com"},
		{"verified by address", Spec{VerifyCertificate: true}, roots, Pass, "HTTP status 200", " " + addr.String()},
		{"wrong name", Spec{Host: "shop.test", VerifyCertificate: true}, roots, Fail, "not shop.test", ""},
		{"unknown authority", Spec{VerifyCertificate: true}, x509.NewCertPool(), Fail, "unknown authority while shaking hands for TLS", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Type = HTTPS
			r := Check(t.Context(), Target{Addr: addr, Spec: tt.spec}, tt.roots)
			if r.Outcome != tt.outcome || !strings.Contains(r.Text, tt.text) {
				t.Errorf("got %v %q, want %v %q", r.Outcome, r.Text, tt.outcome, tt.text)
			}
			if tt.seen != "" {
				if got := <-names; got != tt.seen {
					t.Errorf("the server saw %q, want %q", got, tt.seen)
				}
			}
		})
	}
	t.Run("plain HTTP behind it", func(t *testing.T) {
		r := check(t, Target{Addr: answering(t, "HTTP/1.1 200 OK\r\n\r\n"), Spec: Spec{Type: HTTPS, Timeout: 500 * time.Millisecond}})
		if r.Outcome != Fail {
			t.Errorf("got %v %q", r.Outcome, r.Text)
		}
	})
	t.Run("silence instead of a handshake", func(t *testing.T) {
		addr := serve(t, func(ctx context.Context, c net.Conn) { <-ctx.Done() })
		want(t, check(t, Target{Addr: addr, Spec: Spec{Type: HTTPS, Timeout: 50 * time.Millisecond}}), Fail,
			"timeout after 50ms while shaking hands for TLS")
	})
}
