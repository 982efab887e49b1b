package farm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// spacing is the time between two datagrams of a probe.
const spacing = time.Millisecond

// Pulse sends numbered datagrams through one UDP connection of each family, and
// notes at the real servers when each arrives: the longest hole is how long
// nothing was forwarded. The cluster needs PulseServices.
type Pulse struct {
	f        *Farm
	mu       sync.Mutex
	arrivals map[Family][]arrival
	wg       sync.WaitGroup
	stopped  chan struct{}
	sinks    []net.PacketConn
}

type arrival struct {
	at     time.Time
	sent   time.Duration // since the probe began
	n      uint64
	server string
}

// pulsePort is UDP's echo port; nothing is echoed.
const pulsePort = 7

// PulseServices are what a Pulse needs.
func (f *Farm) PulseServices(scheduler string) (out []Service) {
	for _, fam := range f.Families {
		out = append(out, Service{Name: fmt.Sprintf("pulse%d", int(fam)), VIP: f.VIP(fam), Protocol: "udp", Port: pulsePort, Scheduler: scheduler})
	}
	return out
}

// StartPulse returns when datagrams of all families have arrived. The caller stops it.
func (f *Farm) StartPulse(ctx context.Context) (*Pulse, error) {
	p := &Pulse{f: f, arrivals: map[Family][]arrival{}, stopped: make(chan struct{})}
	err := p.start(ctx)
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (p *Pulse) start(ctx context.Context) error {
	for _, n := range p.f.EPS {
		for _, fam := range p.f.Families {
			pc, err := n.ListenPacket("udp", net.JoinHostPort(p.f.VIP(fam), fmt.Sprint(pulsePort)))
			if err != nil {
				return err
			}
			p.sinks = append(p.sinks, pc)
			conn := pc.(*net.UDPConn)
			if err := stamp(conn); err != nil {
				return err
			}
			p.wg.Go(func() { p.sink(fam, n.Name(), conn) })
		}
	}
	for _, fam := range p.f.Families {
		c, err := p.f.Client.Dial(ctx, "udp", net.JoinHostPort(p.f.VIP(fam), fmt.Sprint(pulsePort)))
		if err != nil {
			return err
		}
		p.wg.Go(func() { p.send(c) })
	}
	return p.Reach(time.Now())
}

// Reach waits until all families' datagrams arrive that came after a time.
func (p *Pulse) Reach(after time.Time) error {
	end := time.Now().Add(readyWithin)
	for {
		p.mu.Lock()
		ok := true
		for _, fam := range p.f.Families {
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

func (p *Pulse) send(c net.Conn) {
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
	err = raw.Control(func(fd uintptr) { e = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1) })
	return errors.Join(err, e)
}

func stamped(oob []byte) time.Time {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err == nil && len(msgs) == 1 && len(msgs[0].Data) == 16 {
		return time.Unix(int64(binary.NativeEndian.Uint64(msgs[0].Data)), int64(binary.NativeEndian.Uint64(msgs[0].Data[8:])))
	}
	return time.Now()
}

func (p *Pulse) sink(fam Family, server string, conn *net.UDPConn) {
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

// Stop ends it.
func (p *Pulse) Stop() {
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

// Gap is what a Pulse saw.
type Gap struct {
	Hole  time.Duration // the longest at a sink in which datagrams were lost
	At    time.Time     // when it began
	Late  time.Duration // the longest in which none was: the machine was busy, or they overtook each other
	Lost  int           // datagrams
	Sent  int
	Moved int // changes of the server: 0, or the connection broke
}

func (g Gap) String() string {
	return fmt.Sprintf("gap %.1f ms, %d of %d datagrams lost, others at most %.1f ms late", millis(g.Hole), g.Lost, g.Sent, millis(g.Late))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Since measures what happened after a time; the worse of the families. It waits
// until something of each has arrived again.
func (p *Pulse) Since(from time.Time) (Gap, error) {
	err := p.Reach(time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	var worst Gap
	for _, all := range p.arrivals {
		var g Gap
		arrived := make(map[uint64]bool, len(all))
		for _, a := range all {
			arrived[a.n] = true
		}
		// While a role moves both directors forward, and one may be slower.
		lost := func(from, to uint64) (n int) {
			for ; from < to; from++ {
				if !arrived[from] {
					n++
				}
			}
			return n
		}
		for i := 1; i < len(all); i++ {
			a, b := all[i-1], all[i]
			if b.at.Before(from) {
				continue
			}
			hole := b.at.Sub(a.at)
			missing := lost(a.n+1, b.n)
			if missing == 0 {
				g.Late = max(g.Late, hole-max(0, b.sent-a.sent-spacing)) // the sender may have been late
			} else if hole > g.Hole {
				g.Hole, g.At = hole, a.at
			}
			g.Lost += missing
			if b.n > a.n {
				g.Sent += int(b.n - a.n)
			}
			if a.server != b.server {
				g.Moved++
			}
		}
		if g.Hole > worst.Hole {
			worst.Hole, worst.At = g.Hole, g.At
		}
		worst = Gap{worst.Hole, worst.At, max(worst.Late, g.Late), max(worst.Lost, g.Lost), max(worst.Sent, g.Sent), worst.Moved + g.Moved}
	}
	return worst, err
}
