package flowsync

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
)

// threadTime is the processor time of the calling thread.
func threadTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(1, &u) != nil { // RUSAGE_THREAD
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCost is what an active director's end takes of one processor while so
// many connections a second are opened, confirmed and closed, which are three
// changes each, in a table for a million. Its sockets are on loopback; the backup's
// end runs beside it and isn't counted, nor is the worker that makes the changes.
func BenchmarkCost(b *testing.B) {
	for _, rate := range []int{0, 20_000, 100_000, 400_000} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) { cost(b, rate) })
	}
}

func cost(b *testing.B, rate int) {
	p := newPair(b, 1_000_000, 1<<17)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	s := p.syncs[0]
	s.SetActive(true)
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(s.cfg.Local), net.UDPAddrFromAddrPort(s.cfg.Remote))
	if err != nil {
		b.Fatal(err)
	}
	_ = conn.SetWriteBuffer(socketBuffer)
	_ = conn.SetReadBuffer(socketBuffer)
	s.conn = conn
	wg.Go(func() { _ = p.syncs[1].Run(ctx) })
	var ran [2]time.Duration
	var ends sync.WaitGroup
	ends.Go(func() {
		runtime.LockOSThread()
		was := threadTime()
		_ = s.listen(conn)
		ran[0] = threadTime() - was
	})
	begin, over := make(chan struct{}), make(chan struct{})
	ends.Go(func() {
		runtime.LockOSThread()
		tick := time.NewTicker(s.cfg.Batch)
		defer tick.Stop()
		var was time.Duration
		measured := false
		for {
			select {
			case <-begin:
				was, measured, begin = threadTime(), true, nil
			case <-over:
				if ran[1] = threadTime() - was; !measured {
					ran[1] = 0
				}
				return
			case <-tick.C:
				s.step()
			}
		}
	})
	await(b, "synced", p.syncs[1].Synced)
	c := &churn{p: p, rate: rate, began: time.Now()}
	c.until(b, time.Now().Add(s.cfg.Scan*3/2)) // by then all goes its usual way
	close(begin)
	b.ResetTimer()
	began, told, opened := time.Now(), s.Status(), c.at[0]
	c.until(b, began.Add(time.Duration(b.N)*500*time.Millisecond))
	opened = c.at[0] - opened
	took := time.Since(began)
	close(over)
	st := s.Status()
	conn.Close()
	ends.Wait()
	b.ReportMetric(100*(ran[0]+ran[1]).Seconds()/took.Seconds(), "%cpu")
	b.ReportMetric(float64(opened)/took.Seconds(), "conns/s")
	b.ReportMetric(float64(st.RecordsOut-told.RecordsOut)/max(float64(opened), 1), "records/conn")
	b.ReportMetric(float64(st.Lost+st.Shed), "lost")
	b.ReportMetric(0, "ns/op")
}

// churn opens connections, confirms each after 20 ms, closes it after 40, and
// forgets it after 60.
type churn struct {
	p     *pair
	rate  int // a second
	began time.Time
	at    [4]int // of each step, the next connection
	slots [1 << 18]uint32
}

func (c *churn) until(b *testing.B, end time.Time) {
	t, id := c.p.tables[0], identity(0)
	hi, lo := frame.Words(id.VIP)
	for time.Now().Before(end) {
		time.Sleep(time.Millisecond)
		now := c.p.now()
		for i, st := range [4]flow.State{flow.SynRecv, flow.Established, flow.FinWait, flow.Free} {
			due := int((time.Since(c.began) - time.Duration(i)*20*time.Millisecond).Seconds() * float64(c.rate))
			if i > 0 {
				due = min(due, c.at[0])
			}
			for ; c.at[i] < due; c.at[i]++ {
				slot := &c.slots[c.at[i]%len(c.slots)]
				if i > 0 {
					_, e, _, ok := t.Read(*slot)
					if ok && st == flow.Free {
						t.Remove(e, ledger0{})
					} else if ok && t.Update(&e, e.Meta.With(st), ledger0{}) {
						c.p.feed.Put(e.Slot)
					}
					continue
				}
				n := uint64(c.at[0])
				k := frame.Key{SrcLo: mapped | 10<<24 | n>>8&0xffffff, DstHi: hi, DstLo: lo, Tail: frame.Tail(uint16(n), 80, 6, frame.KeyFlow)}
				e, r := t.Insert(&k, t.Hash(&k), flow.MakeMeta(st, 0), now+60_000, now, ledger0{})
				if r != flow.Inserted {
					b.Fatalf("connection %d: result %d", n, r)
				}
				*slot = e.Slot
				c.p.feed.Put(e.Slot)
			}
		}
	}
}
