package afpacket

import (
	"errors"
	"runtime"
	"testing"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// reflector is the least that forwards: receive, set the MAC addresses, send.
type reflector struct {
	rs   []*Receiver
	s    *Sender // of the first receiver
	stop func()
}

// reflect starts a reflector on a node: what comes in at one device for the
// filter goes out at another towards the MAC address next. It ends with the
// test, or by stop.
func reflect(t testing.TB, n *netlab.Node, cfg Config, workers int, f pktio.Filter, in, out string, next [6]byte) *reflector {
	t.Helper()
	cfg.Device = in
	own := [6]byte(n.MAC(out))
	re := &reflector{}
	var senders []*Sender
	err := n.Do(func() (err error) {
		if re.rs, err = NewReceivers(cfg, workers); err != nil {
			return err
		}
		for range re.rs {
			s, err := NewSender(SenderConfig{Device: out})
			if err != nil {
				return err
			}
			senders = append(senders, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	re.s = senders[0]
	done := make(chan struct{})
	ended := make(chan error, workers)
	for i, r := range re.rs {
		if err := r.SetFilter(f); err != nil {
			t.Fatal(err)
		}
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ended <- forward(r, senders[i], own, next, done)
		}()
	}
	stopped := false
	re.stop = func() {
		if stopped {
			return
		}
		stopped = true
		close(done)
		for _, r := range re.rs {
			r.Interrupt()
		}
		for range re.rs {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		for i, r := range re.rs {
			if err := errors.Join(r.Close(), senders[i].Close()); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(re.stop)
	return re
}

func forward(r *Receiver, s *Sender, own, next [6]byte, done <-chan struct{}) error {
	var b pktio.Batch
	for {
		if err := r.Recv(&b, -1); err != nil {
			return err
		}
		select {
		case <-done:
			return nil
		default:
		}
		for i := range b.Frames[:b.N] {
			eth := b.Frames[i].Eth()
			copy(eth, next[:])
			copy(eth[6:], own[:])
		}
		err := s.Send(&b)
		r.Release(&b)
		if err != nil {
			return err
		}
	}
}
