package push

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Request is one command to a receiver.
type Request struct {
	Verb Verb
	Sub  Verb // of a Relay: what the real servers are asked for
	// Generation is 0 for Hello and Status. A relayed Hello or Status may name the
	// generation by whose roster the director finds the real servers; 0 means its current.
	Generation uint64
	Nodes      []string // of a Relay; empty: all real servers
}

// sftpWords are what an SFTP session may be called: our clients say the first one, the
// others are what sshd makes of a request for the subsystem.
var sftpWords = [...]string{"sftp", "internal-sftp", "/usr/lib/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server"}

var (
	nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	number   = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)
)

func isSFTP(command string) bool { return slices.Contains(sftpWords[:], command) }

// String is the request as a command line, without the line's end.
func (r Request) String() string {
	words := []string{string(r.Verb)}
	if r.Verb == Relay {
		words = append(words, string(r.Sub))
	}
	if r.Verb != Hello && r.Verb != Status {
		words = append(words, strconv.FormatUint(r.Generation, 10))
	}
	return strings.Join(append(words, r.Nodes...), " ")
}

// ParseRequest reads what String wrote, and nothing else: the text comes from whoever
// holds a key, and no shell ever sees it.
func ParseRequest(line string) (Request, error) {
	var r Request
	if len(line) >= maxCommand {
		return r, errors.New("the command is too long")
	}
	words := strings.Split(line, " ")
	next := func() string {
		if len(words) == 0 {
			return ""
		}
		w := words[0]
		words = words[1:]
		return w
	}
	r.Verb = Verb(next())
	switch r.Verb {
	case Hello, Status, Stage, Switch, Confirm, Rollback:
	case Relay:
		switch r.Sub = Verb(next()); r.Sub {
		case Hello, Status, Stage, Switch, Confirm, Rollback:
		default:
			return Request{}, errors.New("want: relay VERB GENERATION [NODE...]")
		}
	default:
		return Request{}, errors.New("no such command; this is the receiver of svm-ems push, it knows no shell")
	}
	if r.Verb != Hello && r.Verb != Status {
		w := next()
		if !number.MatchString(w) {
			return Request{}, fmt.Errorf("%s: want a generation's number", r.Verb)
		}
		r.Generation, _ = strconv.ParseUint(w, 10, 64) // 18 digits fit
		if r.Generation == 0 && r.Sub != Hello && r.Sub != Status {
			return Request{}, fmt.Errorf("%s: want a generation's number from 1", r.Verb)
		}
	}
	if r.Verb == Relay {
		for len(words) > 0 {
			w := next()
			if !nodeName.MatchString(w) {
				return Request{}, errors.New("relay: want names of machines")
			}
			r.Nodes = append(r.Nodes, w)
		}
	}
	if len(words) > 0 {
		return Request{}, fmt.Errorf("%s: something follows its end", r.Verb)
	}
	return r, nil
}
