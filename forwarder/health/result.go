package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Outcome is what one check found out.
type Outcome int

const (
	// Unsure: the check could not be made for a reason on this host (no file
	// descriptor, no memory, no permission). It says nothing about the server, so
	// it changes no state: a director out of descriptors must not declare the
	// whole farm dead.
	Unsure Outcome = iota
	Pass
	Fail
)

func (o Outcome) String() string {
	switch o {
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	}
	return "unsure"
}

// Result is one check's outcome.
type Result struct {
	Outcome Outcome
	Text    string        // one printable line, such as "HTTP status 503, want 200-399"
	Latency time.Duration // from the start of the check to its end
	stack   string        // where a parser panicked; for the log
}

// maxText bounds Result.Text in bytes.
const maxText = 240

// The steps that only this host can fail at.
const (
	marking     = "marking the socket"
	openingICMP = "opening an ICMP socket"
)

// probe is one check on its way. The step is kept so that an error can say
// what the check was doing.
type probe struct {
	Target
	step string
}

// passed and failed make results; the latency is filled in by Check.
func passed(format string, args ...any) Result {
	return Result{Outcome: Pass, Text: clean(fmt.Sprintf(format, args...))}
}

func failed(format string, args ...any) Result {
	return Result{Outcome: Fail, Text: clean(fmt.Sprintf(format, args...))}
}

// fault turns an error of the current step into a result.
func (p *probe) fault(err error) Result {
	if timedOut(err) {
		return failed("timeout after %v while %s", p.Spec.Timeout, p.step)
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return failed("%v while %s", innermost(err), p.step)
	}
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN, syscall.EADDRNOTAVAIL:
		return p.unsure(errno, "raise the limits of this host")
	case syscall.EPERM, syscall.EACCES:
		if p.step == marking || p.step == openingICMP {
			return p.unsure(errno, "give the daemon CAP_NET_ADMIN and CAP_NET_RAW")
		}
		return p.unsure(errno, "look for a firewall or routing rule of this host that forbids it")
	case syscall.EINVAL:
		// What connect says to a blackhole route: the VIP's own, in the main table.
		return p.unsure(errno, fmt.Sprintf("see with 'ip route get %s mark %d' whether the rule for the mark is there", p.Addr.Addr(), p.Mark))
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH:
		return failed("%v", errno)
	}
	return failed("%v while %s", errno, p.step)
}

// unsure is the result when this host is at fault.
func (p *probe) unsure(err error, remedy string) Result {
	return Result{Text: clean(fmt.Sprintf("not checked: %v while %s; %s", err, p.step, remedy))}
}

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// innermost drops the "dial tcp 10.0.0.1:80:" that the net package puts before
// an error: the reader of a status line knows the address.
func innermost(err error) error {
	var op *net.OpError
	for errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	return err
}

// clean makes one printable line of bounded length out of text that a server or
// a program may have chosen.
func clean(s string) string {
	if len(s) > 4*maxText {
		s = s[:4*maxText]
	}
	var b strings.Builder
	for _, r := range s {
		if b.Len() > maxText-utf8.UTFMax-len("...") {
			b.WriteString("...")
			break
		}
		switch {
		case r == utf8.RuneError, !strconv.IsPrint(r):
			b.WriteByte('.')
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// excerpt quotes the beginning of an answer.
func excerpt(b []byte) string {
	const most = 60
	if len(b) == 0 {
		return "nothing"
	}
	if len(b) > most {
		return strconv.QuoteToASCII(string(b[:most])) + "..."
	}
	return strconv.QuoteToASCII(string(b))
}
