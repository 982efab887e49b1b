package pair

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/ha"
)

// BenchmarkTakeover ends the active one of two, five times for each iteration, and
// tells for how long nothing that a client sends every millisecond reached anybody:
// a pair of svm-fwd, that forwards to servers, beside a pair of keepalived, that
// only moves the address. Both advertise every 100 ms, with priorities 200 and 100.
// A keepalived that is killed leaves its address behind, and its kernel goes on
// answering for it: so for the comparison the machine dies, with its cables.
func BenchmarkTakeover(b *testing.B) {
	const kills = 5
	for _, machine := range []bool{false, true} {
		name := "svm-fwd/process"
		if machine {
			name = "svm-fwd/machine"
		}
		b.Run(name, func(b *testing.B) {
			r := newRig(b, setup{})
			p := r.startProbe(b)
			var gaps []time.Duration
			b.ResetTimer()
			for range b.N * kills {
				ports := []farm.Port{r.ClientPorts[0], r.ServerPorts[0]}
				if !machine {
					ports = nil
				}
				at := time.Now()
				for _, p := range ports {
					p.Switch.Node().LinkDown(p.Name)
				}
				r.kill(0)
				r.awaitRole(b, 1, ha.Active)
				gaps = append(gaps, p.since(b, at).Hole)
				for _, p := range ports {
					p.Switch.Node().LinkUp(p.Name)
				}
				r.start(b, 0)
				r.settled(b, true)
			}
			report(b, gaps)
		})
	}
	b.Run("keepalived/machine", func(b *testing.B) {
		tool(b, "keepalived")
		k := newKept(b)
		var gaps []time.Duration
		b.ResetTimer()
		for range b.N * kills {
			k.await(b, 0, "MASTER")
			k.await(b, 1, "BACKUP")
			k.arrives(b, time.Now())
			at := time.Now()
			k.sw.LinkDown(k.ports[0])
			k.daemons[0].Kill()
			k.await(b, 1, "MASTER")
			k.arrives(b, time.Now())
			gaps = append(gaps, k.hole(at))
			k.start(b, 0) // takes the address that was left behind away
			k.sw.LinkUp(k.ports[0])
		}
		report(b, gaps)
	})
}

func report(b *testing.B, gaps []time.Duration) {
	slices.Sort(gaps)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(gaps[len(gaps)/2]), "median-ms")
	b.ReportMetric(ms(gaps[0]), "min-ms")
	b.ReportMetric(ms(gaps[len(gaps)-1]), "max-ms")
	b.ReportMetric(0, "ns/op")
}

// kept is a client and two nodes with keepalived, on one network.
type kept struct {
	sw      *netlab.Node
	ports   [2]string
	nodes   [2]*netlab.Node
	daemons [2]*netlab.Cmd
	dir     string
	runs    int

	mu   sync.Mutex
	seen []time.Time
}

const keptVIP = "192.0.2.100"

func newKept(b *testing.B) *kept {
	b.Helper()
	lab := netlab.New(b)
	k := &kept{dir: b.TempDir()}
	sw, client := lab.Switch("lan"), lab.Node("client")
	k.sw = sw.Node()
	sw.Attach(client, "eth0", "192.0.2.1/24")
	var wg sync.WaitGroup
	b.Cleanup(wg.Wait)
	for i := range k.nodes {
		n := lab.Node(fmt.Sprintf("node%d", i+1))
		k.ports[i] = sw.Attach(n, "eth0", fmt.Sprintf("192.0.2.%d/24", 2+i))
		k.nodes[i] = n
		pc, err := n.ListenPacket("udp4", "0.0.0.0:7")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { pc.Close() })
		wg.Go(func() {
			var buf [16]byte
			for {
				if _, _, err := pc.ReadFrom(buf[:]); err != nil {
					return
				}
				k.mu.Lock()
				k.seen = append(k.seen, time.Now())
				k.mu.Unlock()
			}
		})
		k.start(b, i)
	}
	pc, err := client.ListenPacket("udp4", "192.0.2.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(func() { pc.Close() })
	b.Cleanup(cancel)
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		to := &net.UDPAddr{IP: net.ParseIP(keptVIP), Port: 7}
		for ctx.Err() == nil {
			<-tick.C
			_, _ = pc.WriteTo([]byte("tick"), to) // nobody there: a hole
		}
	})
	return k
}

func (k *kept) start(b *testing.B, i int) {
	b.Helper()
	k.runs++
	dir := filepath.Join(k.dir, fmt.Sprint(k.runs)) // a killed one leaves its pid files
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	conf := filepath.Join(dir, "keepalived.conf")
	text := fmt.Sprintf(`global_defs {
vrrp_version 3
}
vrrp_instance V {
state BACKUP
interface eth0
virtual_router_id 51
priority %d
advert_int 0.1
virtual_ipaddress {
%s/24
}
}
`, 200-100*i, keptVIP)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	// What was killed left its address behind, as a machine that is dead would not.
	_ = k.nodes[i].Command(b.Context(), "ip", "addr", "del", keptVIP+"/24", "dev", "eth0").Run()
	k.daemons[i] = k.nodes[i].Start(context.Background(), "keepalived", "-n", "-l", "-D", "-P", "-f", conf,
		"-p", filepath.Join(dir, "pid"), "-r", filepath.Join(dir, "vrrp.pid"))
}

// await waits until the last state that the i-th one logged is the one.
func (k *kept) await(b *testing.B, i int, state string) {
	b.Helper()
	netlab.Eventually(b, patience, func() bool {
		log := k.daemons[i].Log()
		at := strings.LastIndex(log, "Entering ")
		return at >= 0 && strings.HasPrefix(log[at+9:], state)
	}, "keepalived is "+state)
}

// arrives waits for a datagram after a time.
func (k *kept) arrives(b *testing.B, after time.Time) {
	b.Helper()
	netlab.Eventually(b, patience, func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.seen) > 0 && k.seen[len(k.seen)-1].After(after)
	}, "datagrams arrive at the address")
}

// hole is the longest time between two arrivals since a time.
func (k *kept) hole(since time.Time) (longest time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := 1; i < len(k.seen); i++ {
		if k.seen[i].After(since) {
			longest = max(longest, k.seen[i].Sub(k.seen[i-1]))
		}
	}
	return longest
}
