package push

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Target is one machine's sshd.
type Target struct {
	Node string // its name in the cluster file
	Addr string // host:port
	User string
}

// SSH configures connections to machines.
type SSH struct {
	Key   ssh.Signer
	Hosts *Hosts
	// TrustNew is asked for a machine whose host key isn't known; nil refuses. It is
	// never asked about a key that has changed. It may be called concurrently.
	TrustNew func(node string, key ssh.PublicKey) error
	Timeout  time.Duration // of connecting and logging in; 0: 10 s
	// KeepAlive is how often a connection is tried; it is closed when an answer takes
	// three times as long. 0: 2 s.
	KeepAlive time.Duration
	// Dial, if set, replaces net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client is the connection to one machine. Its methods may be used concurrently.
type Client struct {
	node string
	conn *ssh.Client
	done chan struct{} // closed when the connection has ended
}

// Connect logs in. The client must be closed.
func (s *SSH) Connect(ctx context.Context, t Target) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, or(s.Timeout, 10*time.Second))
	defer cancel()
	dial := s.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c, err := dial(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, failure(t.Node, Unreachable, "%s can't be reached: %w", t.Addr, unwrapOp(err))
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	var hostErr error
	conn, chans, reqs, err := ssh.NewClientConn(c, t.Addr, &ssh.ClientConfig{
		User:              t.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(s.Key)},
		HostKeyCallback:   s.Hosts.callback(t, s.TrustNew, &hostErr),
		HostKeyAlgorithms: s.Hosts.algorithms(t),
		ClientVersion:     "SSH-2.0-svm",
	})
	if !stop() && err == nil { // the context ended and closed it
		conn.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, explain(ctx, t, err, hostErr)
	}
	client := &Client{node: t.Node, conn: ssh.NewClient(conn, chans, reqs), done: make(chan struct{})}
	go func() {
		_ = client.conn.Wait()
		close(client.done)
	}()
	go client.keepAlive(or(s.KeepAlive, 2*time.Second))
	return client, nil
}

// explain says why the handshake failed.
func explain(ctx context.Context, t Target, err, hostErr error) error {
	var neg *ssh.AlgorithmNegotiationError
	switch {
	case hostErr != nil:
		return hostErr
	case ctx.Err() != nil:
		return failure(t.Node, Unreachable, "%s doesn't answer as sshd in time: %w", t.Addr, ctx.Err())
	case errors.As(err, &neg):
		return failure(t.Node, HostKey, "%s has no host key of the kind that is enrolled (%w): enroll it again (`svm-ems enroll LINE`)", t.Addr, err)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return failure(t.Node, Login, "%s refuses our key for user %s: enroll the machine (`svm-ems token` here, then `enroll TOKEN` on %s)", t.Addr, t.User, t.Node)
	}
	return failure(t.Node, Unreachable, "%s: %w", t.Addr, err)
}

// keepAlive closes a connection that has fallen silent.
func (c *Client) keepAlive(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		late := time.AfterFunc(3*every, func() { c.conn.Close() })
		_, _, err := c.conn.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			c.conn.Close()
		}
	}
}

// Close ends the connection. It may be called more than once.
func (c *Client) Close() {
	c.conn.Close()
	<-c.done
}

// broken is the error of a connection that failed under a verb: what came of it is unknown.
func (c *Client) broken(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return failure(c.node, Unreachable, "%s: the connection broke: %w", what, err)
}

// Scan asks the sshd at addr for its host key, without logging in.
func Scan(ctx context.Context, addr string) (ssh.PublicKey, error) {
	var got ssh.PublicKey
	enough := errors.New("seen")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s can't be reached: %w", addr, unwrapOp(err))
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	conn, _, _, err := ssh.NewClientConn(c, addr, &ssh.ClientConfig{
		User: "svm", HostKeyAlgorithms: []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSASHA512},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error { got = key; return enough },
	})
	if err == nil {
		conn.Close()
	}
	if got == nil {
		return nil, fmt.Errorf("%s shows no host key: %w", addr, err)
	}
	return got, nil
}

// unwrapOp leaves the address out of a dialer's error: ours names it already.
func unwrapOp(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		var sys *os.SyscallError
		if errors.As(op.Err, &sys) {
			return sys.Err
		}
		return op.Err
	}
	return err
}

func or(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return d
}
