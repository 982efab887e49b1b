package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
)

// echoServers answer on every real server, for each VIP with an echo service: the
// server's name, a colon, and what was asked.
func (r *rig) echoServers(t *testing.T) {
	t.Helper()
	for _, n := range r.EPS {
		for _, fam := range farm.Both() {
			for _, vip := range []int{webVIP, packetVIP} {
				pc, err := n.ListenPacket("udp", net.JoinHostPort(r.MoreVIP(fam, vip), fmt.Sprint(echoPort)))
				r.check(t, err)
				done := make(chan struct{})
				go func() {
					defer close(done)
					buf := make([]byte, 1<<16)
					prefix := copy(buf, n.Name()+":")
					for {
						size, from, err := pc.ReadFrom(buf[prefix:])
						if err != nil {
							return
						}
						_, _ = pc.WriteTo(buf[:prefix+size], from) // a lost answer is seen at the client
					}
				}()
				t.Cleanup(func() {
					pc.Close()
					<-done
				})
			}
		}
	}
}

// asker is a UDP socket of the client.
type asker struct {
	net.PacketConn
	to  *net.UDPAddr
	buf []byte
}

func (r *rig) asker(t *testing.T, fam farm.Family, vip int) *asker {
	t.Helper()
	pc, err := r.Client.ListenPacket("udp", net.JoinHostPort(farm.Internet().Addr(fam, farm.ClientHost), "0"))
	r.check(t, err)
	t.Cleanup(func() { pc.Close() })
	return &asker{pc, &net.UDPAddr{IP: net.ParseIP(r.MoreVIP(fam, vip)), Port: echoPort}, make([]byte, 1<<16)}
}

// ask sends a datagram and returns who answered it. Anything but the same bytes
// from the VIP is an error.
func (a *asker) ask(data []byte) (server string, err error) {
	if _, err := a.WriteTo(data, a.to); err != nil {
		return "", err
	}
	if err := a.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	n, from, err := a.ReadFrom(a.buf)
	if err != nil {
		return "", err
	}
	if from.String() != a.to.String() {
		return "", fmt.Errorf("the answer came from %s, want %s", from, a.to)
	}
	name, rest, _ := bytes.Cut(a.buf[:n], []byte(":"))
	if !bytes.Equal(rest, data) {
		return "", fmt.Errorf("%d bytes came back from %s, other ones than were sent", len(rest), name)
	}
	return string(name), nil
}

// testDatagrams sends datagrams of every size class: shorter than Ethernet's
// minimum, one frame, and fragments, with the limits between them.
func testDatagrams(t *testing.T, r *rig) {
	sizes := []int{1, 2, 17, 18, 19, 64, 512, 1231, 1232, 1233, 1400, 1451, 1452, 1453, 1471, 1472, 1473, 1480, 2944, 2960,
		4096, 8192, 16384, 32767, 40001, 59999, 60000}
	each(t, func(t *testing.T, fam farm.Family) {
		payload, err := io.ReadAll(farm.Content(60000))
		if err != nil {
			t.Fatal(err)
		}
		before := r.reasons(t)
		for _, size := range sizes {
			a := r.asker(t, fam, webVIP) // a port of its own: all servers get some
			for range 3 {
				if _, err := a.ask(payload[:size]); err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
			}
		}
		r.counts(t, "followed", before)
		if n := r.reasons(t)["unknown-fragment"] - before["unknown-fragment"]; n > 0 {
			t.Errorf("%d fragments did not find their way", n)
		}
	})
}

// testOnePacket has one client port's datagrams spread over all servers.
func testOnePacket(t *testing.T, r *rig) {
	each(t, func(t *testing.T, fam farm.Family) {
		a := r.asker(t, fam, packetVIP)
		got := map[string]int{}
		for i := range 30 {
			name, err := a.ask([]byte(strings.Repeat("x", i+1)))
			if err != nil {
				t.Fatal(err)
			}
			got[name]++
		}
		for _, n := range r.EPS {
			if got[n.Name()] != 10 {
				t.Errorf("answered by %v, want ten each", got)
				break
			}
		}
		// While a service without it keeps one client port on one server.
		a = r.asker(t, fam, webVIP)
		clear(got)
		for range 10 {
			name, err := a.ask([]byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			got[name]++
		}
		if len(got) != 1 {
			t.Errorf("answered by %v, want one server", got)
		}
	})
}
