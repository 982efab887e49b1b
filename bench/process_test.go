package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/frame"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkProcess is BenchmarkLive with svm-fwd itself, built from this tree. A
// signal stops it while the reflector has its turn. The time of all its threads
// counts, whatever they do meanwhile.
func BenchmarkProcess(b *testing.B) {
	fwd := filepath.Join(b.TempDir(), "svm-fwd")
	if out, err := exec.Command("go", "build", "-o", fwd, "../cmd/svm-fwd").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	for _, flows := range []uint32{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			r := newRoad(b)
			p := r.startProcess(b, fwd)
			tx := r.sender(b, "eth0")
			p.establish(b, tx, flows)
			tasks(p.cmd.Process.Pid, func(dir string) {
				if tid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
					pin(tid, cpuOfForwarder)
				}
			})
			q := r.open(b, afpacket.Config{}, 1)[0]
			director, reflector := &side{name: "svm-fwd"}, &side{name: "reflector"}
			reflect := r.reflector(q, r.server0)
			p.signal(b, syscall.SIGSTOP)
			r.generate(b, newSource(flows, frame.ACK, r.in))
			b.ResetTimer()
			alternate(director, reflector, func() sample {
				q.filter(b, pktio.Filter{})
				return p.slice(b)
			}, func() sample {
				q.filter(b, r.filter)
				return r.slice(b, reflect)
			})
			compare(b, director, reflector)
		})
	}
}

// slice is a turn of the process.
func (p *process) slice(b *testing.B) sample {
	b.Helper()
	pid := p.cmd.Process.Pid
	return p.r.watch(func() { p.signal(b, syscall.SIGCONT) }, func() {
		p.signal(b, syscall.SIGSTOP) // a thread's time is only then counted up to now
		for processRuns(pid) {
			time.Sleep(100 * time.Microsecond)
		}
	}, func() time.Duration { return processTime(pid) })
}

// process is a running svm-fwd with one worker.
type process struct {
	r      *road
	fwd    string
	socket string
	cmd    *netlab.Cmd
}

func (r *road) startProcess(b *testing.B, fwd string) *process {
	b.Helper()
	dir := b.TempDir()
	p := &process{r: r, fwd: fwd, socket: filepath.Join(dir, "s")}
	config := filepath.Join(dir, "cluster.yaml")
	err := os.WriteFile(config, []byte(`
cluster: bench
topology: two-router
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.10}
  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254}
station: {address: 192.168.2.5}
ha: {vrid: 51}
forwarding: {workers: 1, half_open: 90, state_file: "`+filepath.Join(dir, "flows")+`"}
directors:
  - {name: eds1, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
realservers:
  - {name: eps1, address: `+serverAddr.String()+`, device: eth0}
services:
  - name: web
    vip: `+vip.String()+`
    protocol: tcp
    ports: 80
    check: {type: none}
    servers: [{name: eps1}]
`), 0o600)
	if err != nil {
		b.Fatal(err)
	}
	p.cmd = r.director.Start(context.Background(), fwd, "run", "--config", config, "--node", "eds1", "--socket", p.socket)
	b.Cleanup(func() {
		_ = p.cmd.Signal(syscall.SIGCONT)
		if err := p.cmd.Stop(5 * time.Second); err != nil {
			b.Errorf("%v\n%s", err, p.cmd.Log())
		}
	})
	// A frame that reaches the server shows that all is in place.
	tx, syn := r.sender(b, "eth0"), newSource(1, frame.SYN, r.in)
	was := r.delivered()
	netlab.Eventually(b, 20*time.Second, func() bool {
		if err := syn.send(tx, pktio.BatchSize); err != nil {
			b.Fatal(err)
		}
		return r.delivered() >= was+10*pktio.BatchSize
	}, "svm-fwd forwards")
	return p
}

func (p *process) signal(b *testing.B, s syscall.Signal) {
	b.Helper()
	if err := p.cmd.Signal(s); err != nil {
		b.Fatalf("%v\n%s", err, p.cmd.Log())
	}
}

// establish sends every flow's SYN and ACK, ring by ring.
func (p *process) establish(b *testing.B, tx pktio.Sender, flows uint32) {
	b.Helper()
	syn, ack := newSource(flows, frame.SYN, p.r.in), newSource(flows, frame.ACK, p.r.in)
	const step = afpacket.DefaultSlots / 4
	for left := int(flows); left > 0; left -= step {
		was := p.r.delivered()
		if err := errors.Join(syn.send(tx, step), ack.send(tx, step)); err != nil {
			b.Fatal(err)
		}
		p.arrive(b, was+2*step)
	}
	out, err := p.r.director.Command(context.Background(), p.fwd, "list", "-n", "--socket", p.socket).Output()
	if err != nil {
		b.Fatal(err)
	}
	active := uint64(0)
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "->" {
			n, _ := strconv.ParseUint(f[4], 10, 64)
			active += n
		}
	}
	if active != uint64(flows) {
		b.Fatalf("svm-fwd has %d active connections, want %d:\n%s", active, flows, out)
	}
}

// arrive waits until so many frames have reached the server.
func (p *process) arrive(b *testing.B, n uint64) {
	b.Helper()
	for end := time.Now().Add(10 * time.Second); p.r.delivered() < n; {
		if time.Now().After(end) {
			b.Fatalf("%d frames of %d did not come\n%s", n-p.r.delivered(), n, p.cmd.Log())
		}
		time.Sleep(200 * time.Microsecond)
	}
}
