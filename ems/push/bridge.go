package push

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
)

// Session is one start of the program that sshd starts for a delivery.
type Session struct {
	// Command is SSH_ORIGINAL_COMMAND, where it is Given; else In begins with it.
	Command string
	Given   bool
	// Direct does the work in this process; else whoever listens at Socket does.
	Direct bool
	Socket string
	In     io.Reader
	Out    io.Writer
	// Receiver is asked for where the work is done here.
	Receiver func() (*Receiver, error)
}

// Run returns when the session is over.
func (s Session) Run(ctx context.Context) error {
	switch {
	case !s.Direct && !s.Given:
		return errors.New("receive is started by sshd, which says what is wanted: ssh MACHINE hello")
	case !s.Direct:
		return Bridge(ctx, s.Socket, s.Command, s.In, s.Out)
	}
	r, err := s.Receiver()
	if err != nil {
		return err
	}
	if !s.Given {
		if s.Command, s.In, err = Handed(s.In); err != nil {
			return err
		}
	}
	return r.Serve(ctx, s.Command, s.In, s.Out)
}

// maxCommand bounds the line that a session begins with, in bytes.
const maxCommand = 16 << 10

// Bridge hands a session to the receiver that listens at the Unix socket: first the
// command, as one line, then whatever comes from in; what the receiver says goes to
// out. It returns when the receiver has ended. The program that sshd starts needs no
// right but to reach the socket.
func Bridge(ctx context.Context, socket, command string, in io.Reader, out io.Writer) error {
	if len(command) >= maxCommand || strings.ContainsAny(command, "\n\x00") {
		return errors.New("receiver: that is no command")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("receiver: %w (it lets in the user that this machine was enrolled with: enroll --user NAME, or delivery.ssh_user of the cluster file, is another one)", err)
	}
	if err != nil {
		return fmt.Errorf("receiver: %w (systemctl enable --now svm-receiver.socket)", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := io.WriteString(c, command+"\n"); err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	go func() { // ends with the process at the latest: in may stay open
		_, _ = io.Copy(c, in)
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	_, err = io.Copy(out, c)
	return err
}

// Handed reads the line that Bridge begins with, and returns what follows it.
func Handed(r io.Reader) (command string, rest io.Reader, err error) {
	b := bufio.NewReaderSize(r, maxCommand)
	line, err := b.ReadSlice('\n')
	if err != nil {
		return "", nil, errors.New("receiver: the session does not begin with a command")
	}
	return strings.TrimSuffix(string(line), "\n"), b, nil
}

// ReadAnswer reads what a receiver said, up to its Answer; events are passed over.
func ReadAnswer(r io.Reader) (Answer, error) {
	dec := json.NewDecoder(r)
	for {
		var m message
		if err := dec.Decode(&m); err != nil {
			return Answer{}, fmt.Errorf("the receiver's answer: %w", err)
		}
		if m.OK != nil {
			return Answer{OK: *m.OK, Error: m.Error, Cause: m.Cause, Report: m.Report, Relayed: m.Relayed}, nil
		}
	}
}
