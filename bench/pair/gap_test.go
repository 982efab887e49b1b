package pair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/bench/farm"
)

// spacing is the time between two datagrams of a probe.
const spacing = time.Millisecond

// probe sends numbered datagrams through one UDP connection of each family, and
// notes at the real servers when each arrives: the longest hole is how long
// nothing was forwarded.
type probe struct {
	mu       sync.Mutex
	arrivals map[farm.Family][]arrival
	wg       sync.WaitGroup
	stopped  chan struct{}
	sinks    []net.PacketConn
	errs     []error
}

type arrival struct {
	at     time.Time
	sent   time.Duration // since the probe began
	n      uint64
	server string
}

// startProbe returns when datagrams of both families have arrived.
func (r *rig) startProbe(t testing.TB) *probe {
	t.Helper()
	p := &probe{arrivals: map[farm.Family][]arrival{}, stopped: make(chan struct{})}
	t.Cleanup(p.stop)
	for _, n := range r.EPS {
		for _, fam := range farm.Both() {
			pc, err := n.ListenPacket("udp", net.JoinHostPort(r.VIP(fam), fmt.Sprint(echoPort)))
			r.check(t, err)
			p.sinks = append(p.sinks, pc)
			p.wg.Go(func() { p.sink(fam, n.Name(), pc) })
		}
	}
	for _, fam := range farm.Both() {
		c, err := r.Client.Dial(t.Context(), "udp", net.JoinHostPort(r.VIP(fam), fmt.Sprint(echoPort)))
		r.check(t, err)
		p.wg.Go(func() { p.send(c) })
	}
	r.check(t, p.reach(time.Now()))
	return p
}

// reach waits until both families' datagrams arrive that came after a time.
func (p *probe) reach(after time.Time) error {
	end := time.Now().Add(patience)
	for {
		p.mu.Lock()
		ok := true
		for _, fam := range farm.Both() {
			a := p.arrivals[fam]
			ok = ok && len(a) > 0 && a[len(a)-1].at.After(after)
		}
		p.mu.Unlock()
		if ok {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("no datagrams arrive at the servers")
		}
		time.Sleep(spacing)
	}
}

func (p *probe) send(c net.Conn) {
	defer c.Close()
	tick := time.NewTicker(spacing)
	defer tick.Stop()
	began := time.Now()
	var b [16]byte
	for n := uint64(0); ; n++ {
		binary.BigEndian.PutUint64(b[:], n)
		binary.BigEndian.PutUint64(b[8:], uint64(time.Since(began)))
		_, _ = c.Write(b[:]) // one that is lost shows at the sink
		select {
		case <-p.stopped:
			return
		case <-tick.C:
		}
	}
}

// stamp asks the kernel for the time of each datagram's arrival: this process may
// be late to read it.
func stamp(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	err = raw.Control(func(fd uintptr) { e = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
	return errors.Join(err, e)
}

func stamped(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil && len(msgs) == 1 && len(msgs[0].Data) == 16 {
		return time.Unix(int64(binary.NativeEndian.Uint64(msgs[0].Data)), int64(binary.NativeEndian.Uint64(msgs[0].Data[8:])))
	}
	return time.Now()
}

func (p *probe) sink(fam farm.Family, server string, pc net.PacketConn) {
	conn := pc.(*net.UDPConn)
	if err := stamp(conn); err != nil {
		panic(err) // a kernel without time stamps
	}
	var b, oob [64]byte
	for {
		n, size, _, _, err := conn.ReadMsgUDP(b[:], oob[:])
		at := stamped(oob[:size])
		switch {
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed):
			return
		case err != nil || n != 16:
			continue
		}
		p.mu.Lock()
		p.arrivals[fam] = append(p.arrivals[fam], arrival{at, time.Duration(binary.BigEndian.Uint64(b[8:])), binary.BigEndian.Uint64(b[:]), server})
		p.mu.Unlock()
	}
}

func (p *probe) stop() {
	select {
	case <-p.stopped:
		return
	default:
	}
	close(p.stopped)
	for _, s := range p.sinks {
		s.Close()
	}
	p.wg.Wait()
}

// gap is what a probe saw.
type gap struct {
	hole  time.Duration // the longest at a sink in which datagrams were lost
	late  time.Duration // the longest in which none was: the machine was busy
	lost  int           // datagrams
	sent  int
	moved int // changes of the server: 0, or the connection broke
}

func (g gap) String() string {
	return fmt.Sprintf("gap %.1f ms, %d of %d datagrams lost, others at most %.1f ms late", ms(g.hole), g.lost, g.sent, ms(g.late))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// since measures what happened after a time; the worse of the two families. It
// waits until something of both has arrived again.
func (p *probe) since(t testing.TB, from time.Time) gap {
	t.Helper()
	if err := p.reach(time.Now()); err != nil {
		t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var worst gap
	for _, all := range p.arrivals {
		var g gap
		for i := 1; i < len(all); i++ {
			a, b := all[i-1], all[i]
			if b.at.Before(from) {
				continue
			}
			hole := b.at.Sub(a.at)
			if b.n == a.n+1 {
				g.late = max(g.late, hole-max(0, b.sent-a.sent-spacing)) // the sender may have been late
			} else {
				g.hole = max(g.hole, hole)
			}
			if b.n > a.n {
				g.lost += int(b.n - a.n - 1)
				g.sent += int(b.n - a.n)
			}
			if a.server != b.server {
				g.moved++
			}
		}
		worst = gap{max(worst.hole, g.hole), max(worst.late, g.late), max(worst.lost, g.lost), max(worst.sent, g.sent), worst.moved + g.moved}
	}
	return worst
}
