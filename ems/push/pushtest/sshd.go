package pushtest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshd plays the machine's sshd: it lets known keys start the receiver, and nothing else.
type sshd struct {
	m       *Machine
	ln      net.Listener
	allowed []ssh.PublicKey
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex
	conf  *ssh.ServerConfig
	conns map[net.Conn]bool
}

func startSSHD(t testing.TB, m *Machine, allowed []ssh.PublicKey) *sshd {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{m: m, ln: ln, allowed: allowed, conns: map[net.Conn]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.configure(m.host)
	s.wg.Go(s.accept)
	return s
}

func (s *sshd) configure(host ssh.Signer) {
	conf := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			for _, a := range s.allowed {
				if bytes.Equal(a.Marshal(), key.Marshal()) {
					return nil, nil
				}
			}
			return nil, errors.New("not one of ours")
		},
	}
	conf.AddHostKey(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conf = conf
}

func (s *sshd) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		conf := s.conf
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(c, conf)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

func (s *sshd) serve(c net.Conn, conf *ssh.ServerConfig) {
	conn, channels, requests, err := ssh.NewServerConn(c, conf)
	if err != nil {
		return
	}
	defer conn.Close()
	s.wg.Go(func() { ssh.DiscardRequests(requests) })
	for nc := range channels {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "no")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			continue
		}
		s.wg.Go(func() { s.session(ch, reqs) })
	}
}

func (s *sshd) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	started := false
	for req := range reqs {
		var command struct{ Text string }
		ok := req.Type == "exec" && !started && ssh.Unmarshal(req.Payload, &command) == nil
		if req.WantReply {
			_ = req.Reply(ok, nil)
		}
		if !ok {
			continue
		}
		started = true
		s.m.mu.Lock()
		s.m.commands = append(s.m.commands, command.Text)
		s.m.mu.Unlock()
		s.wg.Go(func() {
			var status struct{ Code uint32 }
			if err := s.m.Receiver.Serve(s.ctx, command.Text, ch, ch); err != nil {
				status.Code = 1
			}
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(status))
			ch.Close()
		})
	}
	ch.Close()
}

// cut breaks all connections.
func (s *sshd) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *sshd) stop() {
	s.ln.Close()
	s.cancel()
	s.cut()
	s.wg.Wait()
}
