package health

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// What a server that is broken or taken over may answer. Each check must end,
// with the stated result, after reading a bounded amount.
func TestHostileAnswers(t *testing.T) {
	noLeak(t)
	flood := func(head, piece string) func(context.Context, net.Conn) {
		return func(_ context.Context, c net.Conn) {
			readHead(c)
			io.WriteString(c, head)
			// Ends when the check closes the connection: that is part of the test.
			for {
				if _, err := io.WriteString(c, piece); err != nil {
					return
				}
			}
		}
	}
	drip := func(head string) func(context.Context, net.Conn) {
		return func(ctx context.Context, c net.Conn) {
			readHead(c)
			io.WriteString(c, head)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
			}
		}
	}
	const short = 100 * time.Millisecond
	talk := Spec{Type: TCP, Send: "\r\n\r\n", Expect: "never"}
	for _, tt := range []struct {
		name    string
		server  func(context.Context, net.Conn)
		spec    Spec
		outcome Outcome
		text    string
	}{
		{"endless header line", flood("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 1000)), Spec{Type: HTTP}, Fail, "the answer's header exceeds 64 KiB"},
		{"endless header lines", flood("HTTP/1.1 200 OK\r\n", "X: y\r\n"), Spec{Type: HTTP}, Fail, "the answer's header exceeds 64 KiB"},
		{"endless status line", flood("HTTP/1.1 200 ", "OK"), Spec{Type: HTTP}, Fail, "the answer's header exceeds 64 KiB"},
		{"endless interim answers", flood("", "HTTP/1.1 100 Go\r\n\r\n"), Spec{Type: HTTP}, Fail, "more than 5 interim answers, the last with HTTP status 100"},
		{"endless body", flood("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 1000)), Spec{Type: HTTP}, Pass, "HTTP status 200"},
		{"huge body", flood("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", strings.Repeat("x", 1000)), Spec{Type: HTTP}, Pass, "HTTP status 200"},
		{"endless chunks", flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), Spec{Type: HTTP}, Pass, "HTTP status 200"},
		{"endless trailer", flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n"), Spec{Type: HTTP}, Fail, "http: suspiciously long trailer after chunked body while reading the body"},
		{"dripping header", drip("HTTP/1.1 200 OK\r\nX: "), Spec{Type: HTTP, Timeout: short}, Fail, "timeout after 100ms while waiting for the answer"},
		{"dripping body", drip("HTTP/1.1 200 OK\r\n\r\n"), Spec{Type: HTTP, Timeout: short}, Fail, "timeout after 100ms while reading the body"},
		{"wrong chunk", flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "zz\r\n"), Spec{Type: HTTP}, Fail, "invalid byte in chunk length while reading the body"},
		{"negative length", flood("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "x"), Spec{Type: HTTP}, Fail, `bad Content-Length "-1" while waiting for the answer`},
		{"binary", flood("", "\x00\xff\x1b[31m\r\n"), Spec{Type: HTTP}, Fail, `malformed HTTP response "\x00\xff\x1b[31m" while waiting for the answer`},
		{"endless answer", flood("", strings.Repeat("x", 1000)), talk, Fail, `the first 64 KiB of the answer lack "never"`},
		{"dripping answer", drip(""), Spec{Type: TCP, Send: "\r\n\r\n", Expect: "y", Timeout: short}, Fail, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			addr := serve(t, tt.server)
			runtime.ReadMemStats(&before)
			// Endless answers end by their bound, long before this.
			if tt.spec.Timeout == 0 {
				tt.spec.Interval, tt.spec.Timeout = time.Minute, time.Minute
			}
			r := check(t, Target{Addr: addr, Spec: tt.spec})
			runtime.ReadMemStats(&after)
			if tt.text == "" {
				tt.text = r.Text
			}
			want(t, r, tt.outcome, tt.text)
			// The server's own goroutines count in as well, hence the slack.
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Errorf("allocated %d bytes", n)
			}
		})
	}
}

// A match that comes in single bytes, and one over the border of two reads.
func TestExpectInPieces(t *testing.T) {
	noLeak(t)
	for name, pieces := range map[string][]string{
		"bytes": strings.Split("220 mail ready", ""),
		"split": {strings.Repeat("x", 3000) + "220 mail re", "ady\r\n"},
		"last":  {strings.Repeat("x", maxAnswer-14), "220 mail ready"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, func(_ context.Context, c net.Conn) {
				for _, s := range pieces {
					io.WriteString(c, s)
				}
			})
			want(t, check(t, Target{Addr: addr, Spec: Spec{Type: TCP, Expect: "mail ready"}}), Pass, "answered as expected")
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31m\n\x00\xff")
	f.Add(strings.Repeat("ä", 1000))
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if len(got) > maxText || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x00\x1b") {
			t.Errorf("clean(%q) = %q", s, got)
		}
	})
}

// Whatever bytes come back, the check ends with a result.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	f.Add([]byte("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := probe{Target: Target{Spec: Spec{Type: HTTP}}.withDefaults()}
		if r := p.response(bytes.NewReader(b)); r.Outcome == Unsure || r.Text == "" {
			t.Errorf("got %+v", r)
		}
	})
}
