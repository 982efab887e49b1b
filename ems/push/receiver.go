package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/pkg/sftp"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// Store is what a receiver needs of a *machine.Store.
type Store interface {
	Stage(ctx context.Context, c *render.Config, p machine.Proof) error
	Switch(ctx context.Context, generation uint64) error
	Confirm(ctx context.Context, generation uint64) error
	Rollback(ctx context.Context, generation uint64) error
	State(ctx context.Context) (machine.State, error)
	Current() (*render.Manifest, *machine.Proof, error)
}

// Receiver is the machine's end: it serves one session of the machine's sshd at a time,
// and several receivers may run beside each other, as the Store allows. Fields are not
// changed while Serve runs.
type Receiver struct {
	Store    Store
	Kind     render.Kind
	Node     string // this machine, as in the cluster file
	Pin      string // the station's minisign key, of enrolment
	Incoming string // directory of uploads; it is made where it isn't, its parent must be there
	Identity []byte // directors: the machine's age identity
	// Health, which may be nil, tells how the machine does its work. It must heed ctx.
	Health  func(ctx context.Context) *Health
	Relay   *Relays // directors only; nil: no relaying
	Version string
	Timeout time.Duration // of one verb, not of a relay or an upload; 0: 5 min
	Log     *slog.Logger
}

// Serve does what command says: SSH_ORIGINAL_COMMAND, as the client sent it. Uploads
// are read from in and the answer goes to out. A verb that has begun is brought to its
// end even when the client goes away; a relay or an upload ends with the client. If in
// is an io.Closer it may be closed. The error is also in the answer.
func (r *Receiver) Serve(ctx context.Context, command string, in io.Reader, out io.Writer) error {
	dir, err := openIncoming(r.Incoming, r.Kind)
	if err != nil {
		return r.end(out, Answer{}, err)
	}
	defer dir.root.Close()
	if isSFTP(command) {
		return r.files(ctx, dir, in, out)
	}
	req, err := ParseRequest(command)
	if err != nil {
		r.Log.Warn("refused a command", "length", len(command), "error", err)
		return r.end(out, Answer{}, err)
	}
	began := time.Now()
	var a Answer
	if req.Verb == Relay {
		a, err = r.relay(ctx, dir, req, in, out)
	} else {
		vctx, cancel := context.WithTimeout(ctx, or(r.Timeout, 5*time.Minute))
		err = r.verb(vctx, dir, req)
		a.Report = r.report(vctx, req.Verb == Status, &err)
		cancel()
	}
	log := r.Log.With("verb", req.Verb, "generation", req.Generation, "took", time.Since(began).Round(time.Millisecond))
	if err != nil {
		log.Warn("verb failed", "relayed", req.Sub, "error", plain(err.Error()))
	} else {
		log.Info("verb done", "relayed", req.Sub)
	}
	return r.end(out, a, err)
}

// end writes the answer.
func (r *Receiver) end(out io.Writer, a Answer, err error) error {
	a.OK = err == nil
	if err != nil {
		a.Error, a.Cause = plain(err.Error()), r.cause(err)
	}
	if werr := json.NewEncoder(out).Encode(a); werr != nil && err == nil {
		err = fmt.Errorf("answer: %w", werr)
	}
	return err
}

// cause finds the Cause of an error.
func (r *Receiver) cause(err error) Cause {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Cause
	case errors.Is(err, machine.ErrOld):
		return Outdated
	case errors.Is(err, machine.ErrBusy): // an earlier verb whose client has gone, perhaps
		return Unreachable
	}
	return Refused
}

// report says what the machine is on. That it can't be said fails a verb that went well.
func (r *Receiver) report(ctx context.Context, health bool, err *error) *Report {
	s, serr := r.Store.State(ctx)
	if serr != nil && *err == nil {
		*err = serr
	}
	if serr != nil && s.Phase == "" { // it may come beside an error
		return nil
	}
	// A bare machine's store doesn't know which one it is, and the error is text enough.
	s.Node, s.Kind = r.Node, r.Kind
	rep := &Report{State: s, Version: r.Version, Time: time.Now().UTC()}
	if health && r.Health != nil {
		rep.Health = r.Health(ctx)
	}
	return rep
}

func (r *Receiver) verb(ctx context.Context, dir *incoming, req Request) error {
	switch n := req.Generation; req.Verb {
	case Stage:
		return r.stage(ctx, dir, n)
	case Switch:
		return r.Store.Switch(ctx, n)
	case Confirm:
		return r.Store.Confirm(ctx, n)
	case Rollback:
		return r.Store.Rollback(ctx, n)
	}
	return nil
}

func (r *Receiver) stage(ctx context.Context, dir *incoming, generation uint64) error {
	s, err := r.Store.State(ctx)
	if err != nil {
		return err
	}
	// Before anything of an old or repeated upload is worked on.
	if generation <= s.Confirmed {
		return failure(r.Node, Outdated, "generation %d: %w (generation %d)", generation, machine.ErrOld, s.Confirmed)
	}
	var c *render.Config
	var p machine.Proof
	if r.Kind == render.Director {
		c, p, err = r.openDirector(dir, generation)
	} else {
		c, p, err = r.openServer(dir, generation)
	}
	if err != nil {
		return err
	}
	return r.Store.Stage(ctx, c, p)
}

func (r *Receiver) openServer(dir *incoming, generation uint64) (*render.Config, machine.Proof, error) {
	raw, err := dir.read(partName(generation), bundle.MaxPart)
	if err != nil {
		return nil, machine.Proof{}, &Error{Node: r.Node, Cause: Damaged, Err: err}
	}
	c, signed, err := bundle.OpenPart(raw, r.Pin, r.Node)
	if err == nil && (c.Generation != generation || c.Kind != r.Kind) {
		err = fmt.Errorf("it holds generation %d of a %s", c.Generation, c.Kind)
	}
	if err != nil {
		dir.remove(generation) // so that the next upload starts over
		return nil, machine.Proof{}, &Error{Node: r.Node, Cause: Damaged, Err: err}
	}
	return c, proof(signed), nil
}

func proof(s *bundle.Signed) machine.Proof {
	return machine.Proof{Manifest: []byte(s.Manifest), Signature: []byte(s.Signature)}
}

// files serves SFTP.
func (r *Receiver) files(ctx context.Context, dir *incoming, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := &pipe{Reader: in, Writer: out}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err := sftp.NewRequestServer(conn, sftp.Handlers{FileGet: dir, FilePut: dir, FileCmd: dir, FileList: dir}).Serve()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil // an upload that broke off is resumed
	}
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	return nil
}

// pipe makes one stream of two.
type pipe struct {
	io.Reader
	io.Writer
	once sync.Once
}

// Close ends a read that is under way, where the reader can be closed.
func (p *pipe) Close() error {
	p.once.Do(func() {
		if c, ok := p.Reader.(io.Closer); ok {
			c.Close()
		}
	})
	return nil
}
