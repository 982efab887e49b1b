package memio

import (
	"sync"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// Sender is the near end of a wire.
type Sender struct {
	to  *Receiver
	mtu int

	mu     sync.Mutex
	closed bool
	stats  pktio.TxStats
}

var _ pktio.Sender = (*Sender)(nil)

// NewSender adds a sender to the wire. mtu is the longest IP packet in bytes
// that it takes, super-frames excepted; 0 means no limit.
func (r *Receiver) NewSender(mtu int) *Sender { return &Sender{to: r, mtu: mtu} }

// Send copies the frames over. A full receiver counts them under Dropped, as a
// ring at the far end of a cable does; the sender does not learn of it. Tagged
// and TCI travel along.
func (s *Sender) Send(tx *pktio.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return pktio.ErrClosed
	}
	s.to.mu.Lock()
	for i := range tx.Frames[:tx.N] {
		f := &tx.Frames[i]
		switch {
		case len(f.Buf) < pktio.HeaderLen+14 || s.to.down:
			s.stats.Errors++
			continue
		case s.mtu > 0 && len(f.Buf) > pktio.HeaderLen+14+s.mtu && f.Buf[1] == 0: // no GSO type
			s.stats.TooLong++
			continue
		}
		s.stats.Packets++
		s.stats.Bytes += uint64(len(f.Buf) - pktio.HeaderLen)
		s.to.put(f)
	}
	s.to.mu.Unlock()
	s.to.notify()
	return nil
}

// put stores one frame. The caller holds mu.
func (r *Receiver) put(f *pktio.Frame) {
	switch {
	case r.closed:
		return
	case r.filter != nil && !r.filter.Match(f.Eth()):
		return
	case r.in-r.freed == uint64(len(r.slots)):
		r.stats.Dropped++
		return
	}
	s := r.slot(r.in)
	r.in++
	s.tag, s.tci = f.Tagged, f.TCI
	s.n = len(f.Buf)
	if s.long = len(f.Buf) > r.cfg.SlotSize; s.long {
		if len(f.Buf) > r.cfg.LongSize || r.longs == r.cfg.LongFrames {
			s.long, s.n = false, 0
			return
		}
		r.longs++
	}
	if len(s.mem) < s.n {
		s.mem = make([]byte, max(s.n, r.cfg.SlotSize))
	}
	copy(s.mem, f.Buf)
}

// Stats reads the counters. From any goroutine.
func (s *Sender) Stats() pktio.TxStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close ends the sender. Closing twice is harmless.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
