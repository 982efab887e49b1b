package bundle

import (
	"errors"
	"fmt"
)

// Reason says why something was refused. It is an error itself, so that
// errors.Is(err, bundle.Damaged) asks for it.
type Reason string

// Error makes a Reason the target of errors.Is.
func (r Reason) Error() string { return string(r) }

const (
	Damaged        Reason = "damaged"
	Unsigned       Reason = "unsigned"
	ForeignKey     Reason = "signed by another station"
	ForeignCluster Reason = "of another cluster"
	ForeignNode    Reason = "not for this machine"
	OldGeneration  Reason = "an old generation"
	SameGeneration Reason = "already confirmed on this machine" // nothing to do
	Contradictory  Reason = "contradicts itself"                // signed, but the station made a mistake
	UnknownFormat  Reason = "of an unknown format"
	TooLarge       Reason = "too large"
	WrongKey       Reason = "does not open with this key"
	WrongPhrase    Reason = "does not open with this passphrase"
	NoSecrets      Reason = "holds no secrets for this machine"
	BadKey         Reason = "not a usable key"
	BadInput       Reason = "cannot be made into a bundle"
	NoMedium       Reason = "not an SVM medium"
	MediumTooSmall Reason = "too small"
	MediumInUse    Reason = "in use"
	MediumNotOurs  Reason = "holds something else"
)

// Error is one refusal: nothing was changed when it is returned. Its text never shows
// a secret.
type Error struct {
	Reason Reason
	What   string // what was refused: svm.json, /dev/sdb, ...
	Detail string
	Remedy string // what the operator can do
	cause  error
}

// Error is the whole of it in one line.
func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.short()
	}
	return e.short() + "; " + e.Remedy
}

// short is the line without the remedy.
func (e *Error) short() string {
	s := e.What + " is " + string(e.Reason)
	switch e.Reason {
	case Contradictory, WrongKey, WrongPhrase, NoSecrets, BadInput, MediumNotOurs:
		s = e.What + " " + string(e.Reason)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Is tells errors.Is that e has a Reason.
func (e *Error) Is(target error) bool { r, ok := target.(Reason); return ok && r == e.Reason }

// Unwrap is what caused e, where that is worth asking for.
func (e *Error) Unwrap() error { return e.cause }

// Remedy is what the operator can do about err; empty where nothing is known.
func Remedy(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Remedy
	}
	return ""
}

const (
	sendAgain   = "have the station write or send it again"
	sameVersion = "install the same version of SVM on this machine and on the station"
	otherMedium = "use a medium that the station made with `svm-ems image write`"
)

// refuse makes an Error. An *Error among args gives its text only: one refusal has one
// reason and one remedy.
func refuse(r Reason, what, remedy, format string, args ...any) *Error {
	for i, a := range args {
		if e, ok := a.(*Error); ok {
			args[i] = errors.New(e.short())
		}
	}
	err := fmt.Errorf(format, args...)
	return &Error{Reason: r, What: what, Detail: err.Error(), Remedy: remedy, cause: errors.Unwrap(err)}
}
