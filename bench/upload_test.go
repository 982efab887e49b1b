package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// BenchmarkUpload carries 100 MB over one TCP connection to the VIP, with all
// offloads that the devices have, through a director, a reflector and through the
// kernel's own routing, in turn.
func BenchmarkUpload(b *testing.B) {
	const rounds, size = 31, 100 << 20
	r := newRoad(b)
	r.server.Sysctl("net/ipv4/conf/all/arp_ignore", "1")
	r.server.Addr("lo", vip.String()+"/32")
	r.client.Route(vip.String(), "192.168.1.2")
	r.director.Route(vip.String(), serverAddr.String())
	f := r.newFarm(b, "wlc", 1_000_000, 25, r.server0)
	q := r.open(b, afpacket.Config{}, 1)[0]
	ln, err := r.server.Listen("tcp", net.JoinHostPort(vip.String(), "80"))
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	ways := []struct {
		name string
		f    turn
		mbps []float64
	}{{name: "director", f: f.worker(q, 0, 1).Run}, {name: "reflector", f: r.reflector(q, r.server0)}, {name: "routing"}}
	b.ResetTimer()
	for range rounds {
		for i := range ways {
			w := &ways[i]
			stop := func() {}
			if w.f != nil {
				stop = launch(b, cpuAny, w.f)
			} else {
				q.filter(b, pktio.Filter{})
				r.director.Sysctl("net/ipv4/ip_forward", "1")
			}
			took, err := upload(r, ln, size)
			if err != nil {
				b.Fatalf("%s: %v", w.name, err)
			}
			w.mbps = append(w.mbps, size/1e6/took.Seconds())
			stop()
			q.filter(b, r.filter)
			r.director.Sysctl("net/ipv4/ip_forward", "0")
		}
	}
	for i := range ways {
		slices.Sort(ways[i].mbps)
		b.ReportMetric(median(ways[i].mbps), ways[i].name+"-MB/s")
		b.Logf("%-10s %s MB/s", ways[i].name, span(ways[i].mbps))
	}
	b.ReportMetric(median(ways[0].mbps)/median(ways[1].mbps), "ratio")
	b.ReportMetric(median(ways[0].mbps)/median(ways[2].mbps), "to-routing")
	b.ReportMetric(0, "ns/op")
}

// upload sends size bytes and returns when the server has said that it has them.
func upload(r *road, ln net.Listener, size int64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close()
		n, err := io.Copy(io.Discard, c)
		if err == nil && n != size {
			err = errors.New("not all bytes came")
		}
		served <- err
	}()
	begin := time.Now()
	c, err := r.client.Dial(ctx, "tcp", net.JoinHostPort(vip.String(), "80"))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	chunk := make([]byte, 256<<10)
	for left := size; left > 0; left -= int64(len(chunk)) {
		if _, err := c.Write(chunk); err != nil {
			return 0, err
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	select {
	case err := <-served:
		return time.Since(begin), err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
