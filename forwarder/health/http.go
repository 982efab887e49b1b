package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// maxInterim is how many 1xx answers may come before the real one.
const maxInterim = 5

// http makes one HTTP/1.1 GET on a connection of its own and judges the status
// code. No redirect is followed: a 302 is an answer of this server, what it
// points to need not be. The request is written by hand because a Transport
// would bring its pool and goroutines along and hide what it is doing.
func (p *probe) http(ctx context.Context, roots *x509.CertPool) Result {
	request, err := p.request()
	if err != nil {
		return failed("%v", err)
	}
	p.step = "connecting"
	c, done, err := p.dial(ctx, "tcp")
	if err != nil {
		return p.fault(err)
	}
	defer done()
	if p.Spec.Type == HTTPS {
		p.step = "shaking hands for TLS"
		// Closing the TCP connection is enough; a TLS goodbye could block.
		t := tls.Client(c, p.tlsConfig(roots))
		if err := t.HandshakeContext(ctx); err != nil {
			return p.fault(err)
		}
		c = t
	}
	p.step = "sending the request"
	if _, err := io.WriteString(c, request); err != nil {
		return p.fault(err)
	}
	return p.response(c)
}

// request returns the bytes to send.
func (p *probe) request() (string, error) {
	host := p.Spec.Host
	if host == "" {
		host = p.Addr.Addr().WithZone("").String()
		if p.Addr.Addr().Is6() {
			host = "[" + host + "]"
		}
		// RFC 9110 section 7.2: the port belongs to Host unless it is the scheme's own.
		if own := map[string]uint16{HTTP: 80, HTTPS: 443}[p.Spec.Type]; p.Addr.Port() != own {
			host += ":" + strconv.Itoa(int(p.Addr.Port()))
		}
	}
	for _, f := range []struct{ name, value string }{{"path", p.Spec.Path}, {"host", host}} {
		if strings.ContainsFunc(f.value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return "", fmt.Errorf("check.%s %s holds a space or control character; write it percent-encoded", f.name, excerpt([]byte(f.value)))
		}
	}
	path := p.Spec.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return "GET " + path + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: svm-health\r\nAccept: */*\r\nConnection: close\r\n\r\n", nil
}

// tlsConfig names the server as Host says, else by the VIP (RFC 6066 knows no
// SNI for addresses, so none is sent then).
func (p *probe) tlsConfig(roots *x509.CertPool) *tls.Config {
	name := p.Spec.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if name == "" {
		name = p.Addr.Addr().WithZone("").String()
	}
	return &tls.Config{
		ServerName:         name,
		RootCAs:            roots,
		NextProtos:         []string{"http/1.1"},
		InsecureSkipVerify: !p.Spec.VerifyCertificate,
	}
}

// response reads the answer, never more than maxAnswer of header and maxAnswer
// of body.
func (p *probe) response(c io.Reader) Result {
	p.step = "waiting for the answer"
	limit := &io.LimitedReader{R: c, N: maxAnswer}
	br := bufio.NewReader(limit)
	var resp *http.Response
	for i := 0; ; i++ {
		var err error
		resp, err = http.ReadResponse(br, nil)
		switch {
		case err == nil:
		case limit.N <= 0:
			return failed("the answer's header exceeds 64 KiB")
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return failed("connection closed while %s", p.step)
		default:
			return p.fault(err)
		}
		// RFC 9110 section 15.2: interim answers come before the final one. 101 ends
		// HTTP on this connection, so it is final.
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
		if i == maxInterim {
			return failed("more than %d interim answers, the last with HTTP status %d", maxInterim, resp.StatusCode)
		}
	}
	if !p.Spec.accepts(resp.StatusCode) {
		return failed("HTTP status %d, want %s", resp.StatusCode, p.Spec.wanted())
	}
	p.step = "reading the body"
	limit.N = maxAnswer
	if _, err := io.CopyN(io.Discard, resp.Body, maxAnswer); err != nil && err != io.EOF && limit.N > 0 {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return failed("connection closed while %s", p.step)
		}
		return p.fault(err)
	}
	return passed("HTTP status %d", resp.StatusCode)
}
