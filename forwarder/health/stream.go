package health

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// tcp connects, and talks when the Spec says what.
func (p *probe) tcp(ctx context.Context) Result {
	p.step = "connecting"
	c, done, err := p.dial(ctx, "tcp")
	if err != nil {
		return p.fault(err)
	}
	defer done()
	if p.Spec.Send != "" {
		p.step = "sending"
		if _, err := io.WriteString(c, p.Spec.Send); err != nil {
			return p.fault(err)
		}
	}
	if p.Spec.Expect == "" {
		return passed("connected")
	}
	return p.expect(c, 1024)
}

// udp sends one datagram (an empty one if there is nothing to send) on a
// connected socket, so that an ICMP error about it comes back as an error.
func (p *probe) udp(ctx context.Context) Result {
	p.step = "sending"
	c, done, err := p.dial(ctx, "udp")
	if err != nil {
		return p.fault(err)
	}
	defer done()
	if _, err := c.Write([]byte(p.Spec.Send)); err != nil {
		return p.fault(err)
	}
	if p.Spec.Expect != "" {
		// A datagram that does not fit is cut off, so there is room for the longest.
		return p.expect(c, maxAnswer)
	}
	p.step = "waiting for an answer"
	// One byte is enough: the rest of the datagram is dropped with it.
	if _, err := c.Read(make([]byte, 1)); err != nil {
		if timedOut(err) {
			// Silence is what most UDP services answer to a datagram they don't know.
			return passed("no answer and no error within %v", p.Spec.Timeout)
		}
		return p.fault(err)
	}
	return passed("answered")
}

// expect reads until the answer contains what the Spec wants, into a buffer of
// size bytes at first.
func (p *probe) expect(r io.Reader, size int) Result {
	p.step = "waiting for the answer"
	want := []byte(p.Spec.Expect)
	buf := make([]byte, 0, size)
	searched := 0
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= maxAnswer {
				return failed("the first 64 KiB of the answer lack %s", excerpt(want))
			}
			// Grown by doubling, so what has been read is copied once, not each time.
			buf = append(make([]byte, 0, min(2*cap(buf), maxAnswer)), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if bytes.Contains(buf[searched:], want) {
			return passed("answered as expected")
		}
		// The next piece may complete a match that has begun already. Not searching
		// the rest again keeps a server that drips bytes from costing us CPU.
		searched = max(0, len(buf)-len(want)+1)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return failed("answered %s, want %s", excerpt(buf), excerpt(want))
		case len(buf) > 0 && timedOut(err):
			return failed("timeout after %v, got %s, want %s", p.Spec.Timeout, excerpt(buf), excerpt(want))
		default:
			return p.fault(err)
		}
	}
}
