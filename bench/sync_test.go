package bench

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
	"github.com/svm-cluster/svm/ha/flowsync"
)

// farmNames knows a farm's backends by the servers' place.
type farmNames struct{ f *farm }

func (n farmNames) Identity(ref uint32) (flowsync.Identity, bool) {
	b := n.f.snapshot.Load().Backend(ref)
	if b == nil {
		return flowsync.Identity{}, false
	}
	return flowsync.Identity{VIP: vip, Proto: frame.ProtoTCP, Port: uint16(forwarder.RefIndex(ref)), Server: b.Addr}, true
}

func (n farmNames) Ref(id flowsync.Identity) (uint32, bool) {
	return forwarder.MakeRef(int(id.Port), 1), id.VIP == vip
}

type noLedger struct{}

func (noLedger) Born(flow.Meta)             {}
func (noLedger) Moved(flow.Meta, flow.Meta) {}
func (noLedger) Gone(flow.Meta)             {}

// mirror copies the farm's connections to another table over loopback, as a pair
// of directors does, and returns what the workers tell.
func (f *farm) mirror(b *testing.B, capacity int) (*flow.Feed, *flowsync.Sync) {
	b.Helper()
	other, _, err := flow.New(flow.Config{Capacity: capacity, HalfOpen: 90})
	if err != nil {
		b.Fatal(err)
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		ends[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
		defer c.Close()
	}
	feed := flow.NewFeed(1 << 16)
	var syncs [2]*flowsync.Sync
	for i, table := range []*flow.Table{f.table, other} {
		cfg := flowsync.Config{
			Key: [32]byte{1}, Local: ends[i], Remote: ends[1-i], Table: table, Backends: farmNames{f}, Ledger: noLedger{},
			Now: f.now, Log: slog.New(slog.DiscardHandler),
		}
		if i == 0 {
			cfg.Feeds = []*flow.Feed{feed}
		}
		if syncs[i], err = flowsync.New(cfg); err != nil {
			b.Fatal(err)
		}
	}
	syncs[0].SetActive(true)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	// The ports are free once this function has returned: Run tries until they are.
	for _, s := range syncs {
		wg.Go(func() { _ = s.Run(ctx) })
	}
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := other.Close(false); err != nil {
			b.Error(err)
		}
	})
	return feed, syncs[1]
}

// BenchmarkSync compares a worker that tells of its connections, which are copied
// meanwhile, with one that doesn't: for new connections, each of them a change to
// tell, and for established ones, where there is nothing to tell. cpu-ratio is the
// forwarding path's; the copy itself runs on another processor where there is one.
func BenchmarkSync(b *testing.B) {
	for _, c := range []struct {
		name  string
		flags uint8
		flows uint32
	}{{"new", frame.SYN, 1 << 24}, {"established", frame.ACK, 100_000}} {
		b.Run(c.name, func(b *testing.B) {
			const capacity = 1_000_000
			r := newRoad(b)
			with, without := r.newFarm(b, "rr", capacity, 90, nobody), r.newFarm(b, "rr", capacity, 90, nobody)
			if c.flags == frame.ACK {
				with.establish(b, r, c.flows)
				without.establish(b, r, c.flows)
			}
			feed, backup := with.mirror(b, capacity)
			for end := time.Now().Add(20 * time.Second); !backup.Synced(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					b.Fatal("the backup does not get the table")
				}
			}
			q := r.open(b, afpacket.Config{}, 1)[0]
			told := forwarder.NewWorker(forwarder.WorkerConfig{
				Receiver: q.rx, Servers: q.servers, Clients: q.clients,
				Table: with.table, Snapshot: &with.snapshot, Now: with.now, Index: 0, Count: 1, Feed: feed,
			})
			b.ResetTimer()
			one, other := r.duel(b, 101, afpacket.DefaultSlots, q, newSource(c.flows, c.flags, r.in), told.Run, without.worker(q, 0, 1).Run)
			one.name, other.name = "copied", "not copied"
			compare(b, one, other)
			if c.flags == frame.SYN {
				b.ReportMetric(float64(backup.Status().RecordsIn)/float64(with.table.Len()), "records/conn")
			}
		})
	}
}
