package push

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

const (
	maxAnswer  = 4 << 20   // bytes of one line of an answer: 200 real servers' reports
	maxSession = 32 << 20  // bytes of all lines
	chunk      = 128 << 10 // bytes between two reports of an upload's progress
)

// message is any line of an answer: an Answer is the one that has "ok".
type message struct {
	OK *bool `json:"ok"`
	Event
	Cause   Cause             `json:"cause"`
	Report  *Report           `json:"report"`
	Relayed map[string]Answer `json:"relayed"`
}

// Do gives the machine one verb and returns its answer. onEvent, which may be nil, gets
// the progress of a relay, serially. An error says that there was no answer: if its
// Cause is Unreachable what came of the verb is unknown. When ctx ends the connection
// is closed.
func (c *Client) Do(ctx context.Context, r Request, onEvent func(Event)) (Answer, error) {
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	sess, err := c.conn.NewSession()
	if err != nil {
		return Answer{}, c.broken(ctx, string(r.Verb), err)
	}
	defer sess.Close()
	// The input stays open while we listen: its end tells a relay that nobody does.
	in, err1 := sess.StdinPipe()
	out, err2 := sess.StdoutPipe()
	var complaint tail
	sess.Stderr = &complaint
	if err := errors.Join(err1, err2); err != nil {
		return Answer{}, c.broken(ctx, string(r.Verb), err)
	}
	defer in.Close()
	if err := sess.Start(r.String()); err != nil {
		return Answer{}, c.broken(ctx, string(r.Verb), err)
	}
	lines := bufio.NewScanner(io.LimitReader(out, maxSession))
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return Answer{}, failure(c.node, Refused, "%s: it answered %q; is its receiver svm-fwd or svm-rs of this version?", r.Verb, plain(cut(lines.Text())))
		}
		if m.OK != nil {
			a := Answer{OK: *m.OK, Error: plain(m.Error), Cause: m.Cause, Report: m.Report, Relayed: m.Relayed}
			for node, b := range a.Relayed {
				b.Error = plain(b.Error)
				a.Relayed[node] = b
			}
			return a, nil
		}
		if onEvent != nil {
			m.Error = plain(m.Error)
			onEvent(m.Event)
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
		// The session ended in good order, so the network is well; was there a receiver at all?
		if wait := sess.Wait(); wait != nil && complaint.n > 0 {
			cause := Unreachable // it may be there in a moment
			var exit *ssh.ExitError
			if errors.As(wait, &exit) && (exit.ExitStatus() == 126 || exit.ExitStatus() == 127) {
				cause = Refused // the shell's words for a program that isn't there
			}
			return Answer{}, failure(c.node, cause, "%s: it gave no answer but: %s", r.Verb, plain(string(complaint.b[:complaint.n])))
		}
	}
	return Answer{}, c.broken(ctx, string(r.Verb), err)
}

// tail keeps the beginning of what is written to it.
type tail struct {
	b [512]byte
	n int
}

func (t *tail) Write(p []byte) (int, error) {
	t.n += copy(t.b[t.n:], p)
	return len(p), nil
}

func cut(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// Upload puts data into the machine's incoming directory. What an earlier upload left
// there is believed to be its beginning, unless fresh: the receiver verifies the whole.
// progress, which may be nil, gets the bytes that are there.
func (c *Client) Upload(ctx context.Context, name string, data []byte, fresh bool, progress func(done int64)) error {
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	sess, err := c.conn.NewSession()
	if err != nil {
		return c.broken(ctx, "upload", err)
	}
	defer sess.Close()
	in, err1 := sess.StdinPipe()
	out, err2 := sess.StdoutPipe()
	if err := errors.Join(err1, err2, sess.Start(sftpWords[0])); err != nil {
		return c.broken(ctx, "upload", err)
	}
	files, err := sftp.NewClientPipe(out, in)
	if err != nil {
		return c.broken(ctx, "upload", err)
	}
	defer files.Close()
	if err := put(files, name, data, fresh, progress); err != nil {
		var status *sftp.StatusError
		if errors.As(err, &status) { // it answered: the connection is well
			return failure(c.node, Refused, "upload of %s: %s", name, plain(err.Error()))
		}
		return c.broken(ctx, "upload", err)
	}
	return nil
}

func put(files *sftp.Client, name string, data []byte, fresh bool, progress func(int64)) error {
	at := int64(0)
	flags := os.O_WRONLY | os.O_CREATE
	switch info, err := files.Stat(name); {
	case err == nil && !fresh && info.Size() <= int64(len(data)):
		at = info.Size()
	case err == nil:
		flags |= os.O_TRUNC
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	f, err := files.OpenFile(name, flags)
	if err != nil {
		return err
	}
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return errors.Join(err, f.Close())
	}
	for {
		if progress != nil {
			progress(at)
		}
		if at == int64(len(data)) {
			break
		}
		n, err := f.Write(data[at:min(at+chunk, int64(len(data)))])
		at += int64(n)
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Close(); err != nil { // it is on the disk when this is answered
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
