package control

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/memio"
)

// liveDirector is a whole director in memory: Control, workers and wires, all running.
type liveDirector struct {
	*Control
	out     *outside
	text    atomic.Pointer[string] // the cluster file
	table   *flow.Table
	snap    *atomic.Pointer[forwarder.Snapshot]
	now     func() flow.Tick
	feeds   []*flow.Feed
	lines   []*memio.Receiver // of the workers
	servers *memio.Receiver   // what goes to the server network
	views   []WorkerView
	stop    func() error
}

// bothLines gives the filter to every worker, as cmd/svm-fwd does.
type bothLines struct{ d *liveDirector }

func (b bothLines) SetFilter(f pktio.Filter) error {
	for _, l := range b.d.lines {
		if err := l.SetFilter(f); err != nil {
			return err
		}
	}
	return fakeFilter{b.d.out}.SetFilter(f)
}

func newLiveDirector(t *testing.T, text string, workers int, active bool) *liveDirector {
	t.Helper()
	d := &liveDirector{out: newOutside(), snap: new(atomic.Pointer[forwarder.Snapshot])}
	d.text.Store(&text)
	for n := range byte(255) {
		d.out.macs[netip.AddrFrom4([4]byte{192, 168, 2, n})] = mac(n)
	}
	var origin flow.Origin
	var err error
	if d.table, origin, err = flow.New(flow.Config{Capacity: 100_000, HalfOpen: 50}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	d.now = func() flow.Tick { return flow.Tick(time.Since(began).Milliseconds()) }
	d.servers = memio.NewReceiver(memio.Config{Slots: 1 << 14})
	var all []*forwarder.Worker
	for i := range workers {
		line, feed := memio.NewReceiver(memio.Config{Slots: 1 << 12}), flow.NewFeed(1<<14)
		d.lines, d.feeds = append(d.lines, line), append(d.feeds, feed)
		to, back := d.servers.NewSender(0), memio.NewReceiver(memio.Config{}).NewSender(0)
		w := forwarder.NewWorker(forwarder.WorkerConfig{
			Receiver: line, Servers: to, Clients: back, Table: d.table, Snapshot: d.snap, Now: d.now, Index: i, Count: workers, Feed: feed,
		})
		all = append(all, w)
		d.views = append(d.views, WorkerView{Counters: w.Counters(), Receiver: line, Servers: to, Clients: back, Round: w.Round, Emptied: w.Emptied})
	}
	d.Control, err = New(Config{
		Node: "eds1", Log: slog.New(slog.DiscardHandler),
		Load:  func() (*cluster.Cluster, error) { return cluster.Parse("cluster.yaml", []byte(*d.text.Load())) },
		Table: d.table, Origin: origin, Snapshot: d.snap, Now: d.now, Workers: d.views,
		Neighbours: fakeNeighbours{d.out}, Health: fakeHealth{d.out}, Guard: fakeGuard{d.out}, Filter: bothLines{d},
		ClientMAC: clientMAC, ServerMAC: frame.MAC{2, 0, 0, 0, 0, 2}, Active: active,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	errs := make(chan error, workers+1)
	wg.Go(func() { errs <- d.Run(ctx) })
	for _, w := range all {
		wg.Go(func() { errs <- w.Run(ctx) })
	}
	d.stop = sync.OnceValue(func() error {
		cancel()
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				return err
			}
		}
		return d.table.Close(true)
	})
	t.Cleanup(func() { _ = d.stop() })
	for deadline := time.Now().Add(10 * time.Second); active && !d.announced(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the director does not come up")
		}
	}
	return d
}

func (d *liveDirector) announced() bool {
	d.out.mu.Lock()
	defer d.out.mu.Unlock()
	return d.out.active
}

// put lays a client's frame on the wire of the worker that its address leads to.
func (d *liveDirector) put(t testing.TB, buf []byte) {
	eth := buf[pktio.HeaderLen:]
	line := int(eth[34]^eth[35]^eth[29]) % len(d.lines)
	var tx pktio.Batch
	tx.Add(&pktio.Frame{Buf: buf})
	if err := d.lines[line].NewSender(0).Send(&tx); err != nil {
		t.Error(err)
	}
}

// reasons are the frames that the workers decided about.
func (d *liveDirector) reasons() map[forwarder.Reason]uint64 {
	got := map[forwarder.Reason]uint64{}
	for _, v := range d.views {
		for r := range forwarder.NumReasons {
			if n := v.Counters[r].Load(); n > 0 {
				got[r] += n
			}
		}
	}
	return got
}

// arrivals hands each frame that goes to the servers to see: the client's port and
// the server's MAC address by its last byte, until the test ends.
func (d *liveDirector) arrivals(t *testing.T, see func(src, dst uint16, to byte)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, d.servers.Interrupt)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var rx pktio.Batch
		for ctx.Err() == nil {
			if err := d.servers.Recv(&rx, 50); err != nil {
				t.Error(err)
				return
			}
			for i := range rx.N {
				eth := rx.Frames[i].Eth()
				see(uint16(eth[34])<<8|uint16(eth[35]), uint16(eth[36])<<8|uint16(eth[37]), eth[5])
			}
			d.servers.Release(&rx)
		}
	}()
	return sync.OnceFunc(func() { cancel(); <-done })
}

// liveFarm: web on eps1 to eps3, mail on eps4 to eps6.
func liveFarm(r *rand.Rand) string {
	head, _, _ := strings.Cut(farm, "realservers:")
	var b strings.Builder
	b.WriteString(head + "realservers:\n")
	for n := 1; n <= 6; n++ {
		fmt.Fprintf(&b, "  - {name: eps%d, address: 192.168.2.%d}\n", n, 10+n)
	}
	b.WriteString("services:\n")
	for i, name := range []string{"web", "mail"} {
		var list []string
		for _, j := range r.Perm(3) {
			if j < 2 || r.IntN(2) == 0 {
				list = append(list, fmt.Sprintf("{name: eps%d, weight: %d}", 3*i+j+1, 1+r.IntN(3)))
			}
		}
		fmt.Fprintf(&b, "  - name: %s\n    vip: 192.168.1.100\n    ports: %s\n    scheduler: %s\n    check: {type: tcp}\n    servers: [%s]\n",
			name, []string{"80", "25"}[i], []string{"rr", "wlc", "mh", "sed"}[r.IntN(4)], strings.Join(list, ", "))
	}
	return b.String()
}

// In each service the first server is always well, the second is there all the
// time but for its weight and health, the third comes and goes.
const pinnedServers = 2

// liveTraffic runs connections through a director while mutate is called over and
// over by several goroutines. With whole, not one frame may get lost.
func liveTraffic(t *testing.T, d *liveDirector, whole bool, mutations int, mutate ...func(r *rand.Rand)) {
	const senders, perSender = 4, 120
	type conn struct {
		home atomic.Int32 // the server that it began on
		sent atomic.Int64
		got  atomic.Int64
	}
	conns := make([]conn, senders*perSender)
	serverOf := func(to byte) int { return int(to)%10 - 1 } // mac 11, 21, 31 ... are eps1's
	stop := d.arrivals(t, func(src, dst uint16, to byte) {
		n := int(src) - 20_000
		if n < 0 || n >= len(conns) {
			t.Errorf("a frame from port %d", src)
			return
		}
		c, server := &conns[n], serverOf(to)
		if first := map[uint16]int{80: 0, 25: 3}[dst]; server < first || server > first+2 {
			t.Errorf("a frame for port %d went to eps%d", dst, server+1)
		}
		c.home.CompareAndSwap(0, int32(server)+1)
		if home := int(c.home.Load()) - 1; whole && home%3 < pinnedServers && home != server {
			t.Errorf("connection %d moved from eps%d to eps%d", n, home+1, server+1)
		}
		c.got.Add(1)
	})
	defer stop()
	var mutators, traffic sync.WaitGroup
	var over atomic.Bool
	for i, f := range mutate {
		mutators.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 11))
			for range mutations {
				f(r)
			}
		})
	}
	for s := range senders {
		traffic.Go(func() {
			client := netip.AddrFrom4([4]byte{198, 51, 100, byte(s + 1)})
			for round := 0; round < 10 || !over.Load(); round++ {
				for i := range perSender {
					n := s*perSender + i
					c := &conns[n]
					flags := byte(frame.ACK)
					if round == 0 {
						flags = frame.SYN
					}
					vip := netip.MustParseAddrPort([]string{web, mail}[n%2])
					c.sent.Add(1)
					d.put(t, segment(netip.AddrPortFrom(client, uint16(20_000+n)), vip, flags))
				}
				// What a client does: wait for answers, or give up after a while.
				patience := 10 * time.Second
				if !whole {
					patience = time.Millisecond
				}
				deadline := time.Now().Add(patience)
				for i := range perSender {
					c := &conns[s*perSender+i]
					for c.got.Load() < c.sent.Load() {
						if time.Now().After(deadline) {
							if whole {
								t.Errorf("connection %d: %d frames of %d arrived", s*perSender+i, c.got.Load(), c.sent.Load())
								return
							}
							break
						}
						time.Sleep(50 * time.Microsecond)
					}
				}
			}
		})
	}
	mutators.Wait()
	over.Store(true)
	traffic.Wait()
	stop()
	for i := range conns {
		if c := &conns[i]; c.got.Load() > c.sent.Load() {
			t.Errorf("connection %d: %d frames arrived, %d were sent", i, c.got.Load(), c.sent.Load())
		}
	}
}

func (d *liveDirector) reloader(t *testing.T) func(r *rand.Rand) {
	return func(r *rand.Rand) {
		text := liveFarm(r)
		d.text.Store(&text)
		if _, err := d.Reload(); err != nil {
			t.Error(err)
		}
	}
}

// health fails and mends what may fail, and gives servers other MAC addresses.
func (d *liveDirector) weather(t *testing.T) func(r *rand.Rand) {
	return func(r *rand.Rand) {
		d.out.mu.Lock()
		n := r.IntN(6)
		name := fmt.Sprintf("%s/eps%d", []string{"web", "mail"}[n/3], n+1)
		d.out.up[name] = n%3 == 0 || r.IntN(2) == 0
		d.out.macs[netip.AddrFrom4([4]byte{192, 168, 2, byte(11 + n)})] = mac(byte(n + 1 + 10*(1+r.IntN(9))))
		d.out.mu.Unlock()
		select {
		case d.out.changes <- struct{}{}:
		default:
		}
	}
}

func (d *liveDirector) operator(t *testing.T) func(r *rand.Rand) {
	return func(r *rand.Rand) {
		n := r.IntN(4)
		server := []int{2, 3, 5, 6}[n]
		action := []string{"drain", "ready", "weight"}[r.IntN(3)]
		if server%3 == 0 && r.IntN(3) == 0 {
			action = "maint"
		}
		err := d.Do(ServerAction{Service: []string{"web", "web", "mail", "mail"}[n], Server: fmt.Sprintf("eps%d", server), Action: action, Weight: r.IntN(3)})
		if err != nil && server%3 != 0 { // the third ones come and go
			t.Error(err)
		}
	}
}

func (d *liveDirector) reader(t *testing.T) func(r *rand.Rand) {
	return func(*rand.Rand) {
		_ = d.Status()
		d.Connections(func(c Connection) bool {
			if c.Name == "" && c.State == "FREE" {
				t.Errorf("%+v", c)
			}
			return true
		})
		_, _ = d.Explain(ExplainRequest{Source: "198.51.100.1:20000", Destination: web, Protocol: "tcp", Flags: "A"})
	}
}

// everything is well to begin with.
func (d *liveDirector) allUp() {
	d.out.mu.Lock()
	for i, name := range []string{"web", "mail"} {
		for j := range 3 {
			d.out.up[fmt.Sprintf("%s/eps%d", name, 3*i+j+1)] = true
		}
	}
	d.out.mu.Unlock()
}

// awaitBalance waits until the counts are those of the table.
func (d *liveDirector) awaitBalance(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		want := map[uint32][2]int64{}
		d.table.Range(func(_ *frame.Key, e flow.Entry, _ flow.Tick) bool {
			if s := e.Meta.State(); s.Counted() {
				c := want[e.Meta.Backend()]
				if s.Active() {
					c[0]++
				} else {
					c[1]++
				}
				want[e.Meta.Backend()] = c
			}
			return true
		})
		bad := ""
		for _, b := range d.snap.Load().Backends {
			if b != nil && want[b.Ref] != [2]int64{b.Load.Active(), b.Load.Inactive()} {
				bad += fmt.Sprintf("%s/%s counts %d and %d, the table has %v\n", b.Service.Name, b.Name, b.Load.Active(), b.Load.Inactive(), want[b.Ref])
			}
		}
		if bad == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(bad)
		}
	}
}

// TestTrafficThroughChanges: while the file, the servers' health and MAC addresses
// and the operators' wishes change all the time, not one frame is lost, goes
// elsewhere or twice, and connections stay where they are.
func TestTrafficThroughChanges(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d := newLiveDirector(t, liveFarm(rand.New(rand.NewPCG(1, 1))), 2, true)
	d.allUp()
	d.mustRefresh(t)
	liveTraffic(t, d, true, 80, d.reloader(t), d.weather(t), d.operator(t), d.reader(t))
	d.awaitBalance(t)
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	for r, n := range d.reasons() {
		if r != forwarder.Known && r != forwarder.Scheduled && r != forwarder.Fallback {
			t.Errorf("%d frames: %v", n, r)
		}
	}
}

// TestTrafficThroughRoles: the same with a role that comes and goes. Frames get
// lost then, but none goes where it may not, and the counts stay right.
func TestTrafficThroughRoles(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d := newLiveDirector(t, liveFarm(rand.New(rand.NewPCG(2, 1))), 2, true)
	d.allUp()
	d.mustRefresh(t)
	roles := func(r *rand.Rand) {
		if err := d.SetRole(r.IntN(2) == 0); err != nil {
			t.Error(err)
		}
	}
	liveTraffic(t, d, false, 80, roles, d.reloader(t), d.weather(t), d.operator(t), d.reader(t))
	d.awaitBalance(t)
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	d.out.mu.Lock()
	defer d.out.mu.Unlock()
	if len(d.out.guarded.VIPs)+len(d.out.filter.Addrs) != 0 || d.out.active {
		t.Error("something is left behind")
	}
}

func (d *liveDirector) mustRefresh(t *testing.T) {
	t.Helper()
	d.Control.mu.Lock()
	defer d.Control.mu.Unlock()
	if err := d.refresh(); err != nil {
		t.Fatal(err)
	}
}
