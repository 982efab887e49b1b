package health

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxAnswer bounds in bytes how much of a server's answer is read: of an HTTP
// header, of an HTTP body, and of what tcp and udp search for Expect.
const maxAnswer = 64 << 10

// Check makes one check now and returns what it found. It takes at most the
// Timeout of the Spec (plus up to 100 ms for a program that left its output
// open), or until ctx ends. roots are the authorities that
// VerifyCertificate trusts; nil: the system's. It may be called from any number
// of goroutines.
func Check(ctx context.Context, t Target, roots *x509.CertPool) (r Result) {
	p := &probe{Target: t.withDefaults(), step: "starting"}
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, p.Spec.Timeout)
	defer cancel()
	begun := time.Now()
	defer func() {
		// A server's answer goes through parsers that are not ours. Whatever one of
		// them trips over must not take the director down.
		if v := recover(); v != nil {
			r = Result{Text: clean(fmt.Sprintf("not checked: internal error while %s: %v; please report it with the log", p.step, v)), stack: string(debug.Stack())}
		}
		// Broken off says nothing about the server; a deadline of the caller's, which
		// may be the very timeout, is as good as ours.
		if err := outer.Err(); errors.Is(err, context.Canceled) {
			r = Result{Text: "not checked: " + err.Error()}
		}
		r.Latency = time.Since(begun)
	}()
	if p.Spec.Type == None {
		return passed("no check")
	}
	if !p.Addr.IsValid() {
		return failed("no address to check; give the target one")
	}
	switch p.Spec.Type {
	case TCP:
		return p.tcp(ctx)
	case UDP:
		return p.udp(ctx)
	case HTTP, HTTPS:
		return p.http(ctx, roots)
	case Exec:
		return p.exec(ctx)
	case Ping:
		return p.ping(ctx)
	}
	return failed("unknown check type %q; want none, tcp, http, https, udp, exec or ping", p.Spec.Type)
}

// dial opens a socket to the target that carries its mark. The returned function
// closes it, and until then ctx's end makes every call on it fail at once.
func (p *probe) dial(ctx context.Context, network string) (net.Conn, func(), error) {
	d := net.Dialer{KeepAlive: -1, Control: p.control}
	d.SetMultipathTCP(false) // forwarders and old servers see the plain thing
	c, err := d.DialContext(ctx, network, p.Addr.String())
	if err != nil {
		return nil, nil, err
	}
	if t, ok := c.(*net.TCPConn); ok {
		// Close with RST: a check every second at each server would otherwise pile
		// up TIME_WAIT, here or there.
		t.SetLinger(0)
	}
	return c, interruptible(ctx, c), nil
}

// deadliner is what net.Conn and os.File have in common here.
type deadliner interface {
	SetDeadline(time.Time) error
	Close() error
}

// interruptible makes ctx's end pass the deadline of c, and returns the
// function that undoes this and closes c.
func interruptible(ctx context.Context, c deadliner) func() {
	if at, ok := ctx.Deadline(); ok {
		c.SetDeadline(at)
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		stop()
		c.Close()
	}
}

// control sets the options that must be there before connect.
func (p *probe) control(network, _ string, raw syscall.RawConn) error {
	var err error
	if e := raw.Control(func(fd uintptr) { err = p.setOptions(int(fd), network == "udp4" || network == "udp6") }); e != nil {
		return e
	}
	return err
}

// setOptions sets the mark, and with icmpErrors asks for all ICMP errors, also
// the soft ones (host unreachable) that a UDP socket is normally spared.
func (p *probe) setOptions(fd int, icmpErrors bool) error {
	if p.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)); err != nil {
			p.step = marking
			return err
		}
	}
	if !icmpErrors {
		return nil
	}
	if p.Addr.Addr().Is4() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
}
