package push

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Cause is the kind of a failure, where the other side acts by it.
type Cause string

const (
	// Unreachable: no connection, or it broke. What the machine did of a verb is unknown.
	Unreachable Cause = "unreachable"
	// HostKey: the machine's host key isn't the one that the station knows.
	HostKey Cause = "host key"
	// Login: the machine refuses our key.
	Login Cause = "login"
	// Damaged: what was uploaded isn't whole or isn't signed by the station.
	Damaged Cause = "damaged"
	// Outdated: the machine has confirmed this generation or a newer one.
	Outdated Cause = "outdated"
	// Refused: anything else that the machine says no to.
	Refused Cause = "refused"
)

// Error is the failure of one machine.
type Error struct {
	Node  string
	Cause Cause
	Err   error
}

func (e *Error) Error() string { return e.Node + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// CauseOf is the Cause of err, Refused where it has none.
func CauseOf(err error) Cause {
	var e *Error
	if errors.As(err, &e) {
		return e.Cause
	}
	return Refused
}

func failure(node string, c Cause, format string, args ...any) *Error {
	return &Error{Node: node, Cause: c, Err: fmt.Errorf(format, args...)}
}

// maxText bounds an error's text on the wire and on a terminal, in bytes.
const maxText = 2000

// plain makes a text of another machine safe to print: one line, no control characters.
func plain(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	s = strings.ToValidUTF8(s, "?")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}
