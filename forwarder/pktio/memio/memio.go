// Package memio is a wire in memory: what a Sender sends, the Receiver at its
// far end gets. It loses frames where a real ring would, and counts them as one
// does, so whole directors can be tested without a network.
package memio

import (
	"fmt"
	"sync"
	"time"

	"github.com/svm-cluster/svm/forwarder/pktio"
)

// Config describes a receiver. Zero values take the defaults.
type Config struct {
	// Slots is the number of frames that wait at most. Default 1024.
	Slots int
	// SlotSize is the length in bytes, virtio header included, above which a
	// frame counts as long. Default 2048.
	SlotSize int
	// LongFrames is how many long frames wait at most; those beyond are
	// truncated. Default 32.
	LongFrames int
	// LongSize is the longest frame that arrives whole, in bytes with its virtio
	// header. Default 66 KiB.
	LongSize int
}

func (c *Config) setDefaults() {
	for _, d := range []struct {
		v *int
		d int
	}{{&c.Slots, 1024}, {&c.SlotSize, 2048}, {&c.LongFrames, 32}, {&c.LongSize, 66 << 10}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
}

// slot holds one frame. Its memory is made when the slot is first used, or used
// for a longer frame than before, and kept.
type slot struct {
	mem  []byte
	n    int // length of the frame; 0: it was truncated
	tag  bool
	tci  uint16
	long bool
}

// Receiver is the far end of any number of senders.
type Receiver struct {
	cfg   Config
	wake  chan struct{} // has an element when something happened
	timer *time.Timer

	mu          sync.Mutex
	slots       []slot
	in, out     uint64 // running counts: next to fill, next to hand out
	freed       uint64 // next to give back
	longs       int    // long frames that wait or are lent out
	filter      *pktio.Filter
	interrupted bool
	down        bool
	report      error
	closed      bool
	stats       pktio.RxStats
}

var _ pktio.Receiver = (*Receiver)(nil)

// Pipe makes a wire with one sender.
func Pipe(cfg Config) (*Sender, *Receiver) {
	r := NewReceiver(cfg)
	return r.NewSender(0), r
}

// NewReceiver makes a receiver without a sender; see Receiver.NewSender. It lets
// every frame in until SetFilter says otherwise. In a synctest bubble it is made
// inside the bubble.
func NewReceiver(cfg Config) *Receiver {
	cfg.setDefaults()
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &Receiver{
		cfg:   cfg,
		slots: make([]slot, cfg.Slots),
		wake:  make(chan struct{}, 1),
		timer: t,
	}
}

// Recv is described at pktio.Receiver. It panics when the batch before was not
// released: that is a fault of the caller which a real ring would not show.
func (r *Receiver) Recv(rx *pktio.Batch, wait int) error {
	rx.N = 0
	if done, err := r.take(rx); done || wait == 0 {
		return err
	}
	if wait > 0 {
		r.timer.Reset(time.Duration(wait) * time.Millisecond)
		defer r.timer.Stop()
	}
	for {
		if wait > 0 {
			select {
			case <-r.wake:
			case <-r.timer.C:
				_, err := r.take(rx)
				return err
			}
		} else {
			<-r.wake
		}
		if done, err := r.take(rx); done {
			return err
		}
	}
}

// take fills rx and reports whether Recv is to return.
func (r *Receiver) take(rx *pktio.Batch) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return true, pktio.ErrClosed
	}
	if r.freed != r.out {
		panic(fmt.Sprintf("memio: Recv while %d frames of the last one are not released", r.out-r.freed))
	}
	for rx.N < pktio.BatchSize && r.out != r.in {
		s := r.slot(r.out)
		r.out++
		if s.n == 0 {
			r.stats.Truncated++
			continue
		}
		if s.long {
			r.stats.Long++
		}
		rx.Frames[rx.N] = pktio.Frame{Buf: s.mem[:s.n:s.n], Tagged: s.tag, TCI: s.tci, Token: uint32(r.out - 1)}
		rx.N++
		r.stats.Packets++
		r.stats.Bytes += uint64(s.n - pktio.HeaderLen)
	}
	stop := r.interrupted
	r.interrupted = false
	if rx.N > 0 {
		return true, nil
	}
	r.release()
	if err := r.report; err != nil {
		r.report = nil
		return true, err
	}
	return stop, nil
}

func (r *Receiver) slot(n uint64) *slot { return &r.slots[n%uint64(len(r.slots))] }

// Release gives the slots of the last Recv back.
func (r *Receiver) Release(rx *pktio.Batch) {
	rx.N = 0
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release()
}

func (r *Receiver) release() {
	for ; r.freed != r.out; r.freed++ {
		if r.slot(r.freed).long {
			r.longs--
		}
	}
}

// Interrupt makes the current or next Recv return at once. From any goroutine.
func (r *Receiver) Interrupt() {
	r.mu.Lock()
	r.interrupted = true
	r.mu.Unlock()
	r.notify()
}

func (r *Receiver) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Stats reads the counters. From any goroutine, also after Close.
func (r *Receiver) Stats() pktio.RxStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Close ends the receiver; frames sent to it afterwards get lost like on a cable
// that nobody holds. Closing twice is harmless.
func (r *Receiver) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.notify()
	return nil
}

// SetFilter lets only frames in that f matches. From any goroutine.
func (r *Receiver) SetFilter(f pktio.Filter) error {
	if _, err := f.Assemble(); err != nil {
		return err // the same that a kernel would refuse
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.filter = &f
	return nil
}

// SetDown unplugs the wire, or plugs it in again. While it is unplugged Send
// counts its frames under Errors, and Recv reports pktio.ErrDown once. From any
// goroutine.
func (r *Receiver) SetDown(down bool) {
	r.mu.Lock()
	if down && !r.down {
		r.report = fmt.Errorf("memio: %w", pktio.ErrDown)
	}
	r.down = down
	r.mu.Unlock()
	r.notify()
}
