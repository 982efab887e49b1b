package flowsync

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// Sync is one director's end. All methods are safe for concurrent use.
type Sync struct {
	cfg     Config
	changes chan struct{}

	mu   sync.Mutex
	e    *engine
	conn *net.UDPConn // nil while there is none
	told uint64       // of e.totals.changes
}

// ErrNoPeer is returned by Flush when there is nobody to flush to.
var ErrNoPeer = errors.New("flowsync: no backup listens")

// New prepares one end; Run starts it. It begins as a backup.
func New(cfg Config) (*Sync, error) {
	s := &Sync{changes: make(chan struct{}, 1)}
	e, err := newEngine(cfg, s.transmit)
	if err != nil {
		return nil, err
	}
	s.e, s.cfg = e, e.cfg
	return s, nil
}

// transmit is called by the engine, under the lock.
func (s *Sync) transmit(d []byte) {
	if s.conn == nil {
		return
	}
	// An error is as good as a loss: refused while the peer is down, or no buffer.
	if _, err := s.conn.Write(d); err != nil {
		s.e.totals.sendErrors++
		s.refused(err)
	}
}

// refused passes on that the peer's host refused a datagram of a session. Call it
// under the lock.
func (s *Sync) refused(err error) {
	if errors.Is(err, syscall.ECONNREFUSED) {
		s.e.refused = true
	}
	if e := s.e.session; e != nil && (e.peerActive || e.synced) && !s.e.active && s.cfg.OnGone != nil && errors.Is(err, syscall.ECONNREFUSED) {
		s.cfg.OnGone()
	}
}

const (
	socketBuffer = 4 << 20 // the system may give less
	retryGap     = time.Second
)

// Run speaks with the peer until ctx ends, and then says goodbye. What goes wrong
// with the socket is logged and tried again: the director forwards without a
// backup too. It always returns nil.
func (s *Sync) Run(ctx context.Context) error {
	said := ""
	for ctx.Err() == nil {
		conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(s.cfg.Local), net.UDPAddrFromAddrPort(s.cfg.Remote))
		if err == nil {
			err = s.speak(ctx, conn)
		}
		if err == nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			s.cfg.Log.Error("flowsync: no socket; is the address on this host, and no other svm-fwd running?", "error", err)
		}
		s.discard()
		select {
		case <-ctx.Done():
		case <-time.After(retryGap):
		}
	}
	return nil
}

// discard keeps the feeds from filling up while nothing can be sent.
func (s *Sync) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.stream.discard()
}

// speak uses one socket until ctx ends, or returns why it is of no more use.
func (s *Sync) speak(ctx context.Context, conn *net.UDPConn) (err error) {
	_ = conn.SetReadBuffer(socketBuffer) // smaller ones cost resends, no more
	_ = conn.SetWriteBuffer(socketBuffer)
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	failed := make(chan error, 1)
	go func() { failed <- s.listen(conn) }()
	ticker := time.NewTicker(s.cfg.Batch)
	defer ticker.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case err = <-failed:
			done = true
		case <-ticker.C:
			s.step()
		}
	}
	s.mu.Lock()
	if s.e.session != nil && ctx.Err() != nil {
		s.e.sayFlags(statusLeaving, s.cfg.Now())
		s.e.end("we leave", s.cfg.Now())
	}
	s.conn = nil
	s.tell()
	s.mu.Unlock()
	conn.Close()
	if err == nil {
		<-failed
	}
	return err
}

func (s *Sync) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.tick(s.cfg.Now())
	s.tell()
}

// listen hands what arrives to the engine until the socket is closed or fails.
func (s *Sync) listen(conn *net.UDPConn) error {
	var buf [maxDatagram + 1]byte
	for bad := 0; ; {
		n, err := conn.Read(buf[:])
		switch {
		case err == nil:
			bad = 0
		case errors.Is(err, syscall.ECONNREFUSED):
			s.mu.Lock()
			s.refused(err) // the peer's host says that nobody listens there
			s.mu.Unlock()
			continue
		default:
			if bad++; bad > 100 || errors.Is(err, net.ErrClosed) {
				return err
			}
			continue
		}
		s.mu.Lock()
		s.e.receive(buf[:n], s.cfg.Now())
		s.tell()
		s.mu.Unlock()
	}
}

// tell signals Changes if there is something new. Call it under the lock.
func (s *Sync) tell() {
	if s.told == s.e.totals.changes {
		return
	}
	s.told = s.e.totals.changes
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// SetActive tells the director's role. After SetActive(true) returns, Sync writes
// nothing more into the table; after SetActive(false), it may. Take is the way to
// the role that misses no word of a director that still has it.
func (s *Sync) SetActive(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.setActive(on, s.cfg.Now())
	s.tell()
}

// Synced tells whether this director is a backup that has the whole table of the
// active and hears of every change. Only then may it preempt.
func (s *Sync) Synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.e.session != nil && s.e.session.synced
}

// Changes receives after Synced may have changed; several changes may share one
// signal.
func (s *Sync) Changes() <-chan struct{} { return s.changes }

// Status returns what there is to see.
func (s *Sync) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.e.describe()
}

// Flush sends what the feeds hold now and waits until the peer confirms it. Before
// a planned handover: stop forwarding, Flush, give the role away, SetActive(false).
func (s *Sync) Flush(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	s.mu.Lock()
	drained, session := s.e.stream.drained, s.e.session
	s.mu.Unlock()
	target := uint64(0)
	for {
		s.mu.Lock()
		if target == 0 {
			s.e.tick(s.cfg.Now())
			if s.e.stream.drained != drained {
				target = s.e.out.next
			}
		}
		listens := session != nil && s.e.session == session && s.e.stream.on
		done := target != 0 && s.e.out.base >= target
		s.mu.Unlock()
		switch {
		case !listens:
			return ErrNoPeer
		case done:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
