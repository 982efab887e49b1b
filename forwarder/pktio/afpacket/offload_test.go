package afpacket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/pktio"
)

// farm is a client, a director with a bare reflector and a server that holds the
// VIPs, on one switch. Replies go straight to the client.
type farm struct {
	client, director, server *netlab.Node
	re                       *reflector
}

func newFarm(t testing.TB, cfg Config, workers int) *farm {
	t.Helper()
	lab := netlab.New(t)
	f := &farm{client: lab.Node("client"), director: lab.Node("director"), server: lab.Node("server")}
	sw := lab.Switch("lan")
	sw.Attach(f.client, "eth0", "10.9.1.1/24", "2001:db8:1::1/64")
	sw.Attach(f.director, "eth0", "10.9.1.2/24", "2001:db8:1::2/64")
	sw.Attach(f.server, "eth0", "10.9.1.3/24", "2001:db8:1::3/64")
	f.server.Addr("lo", vip4.String()+"/32", vip6.String()+"/128")
	f.client.Route(vip4.String()+"/32", "10.9.1.2")
	f.client.Route(vip6.String()+"/128", "2001:db8:1::2")
	// The director's kernel would call the VIPs unreachable.
	for _, vip := range []netip.Addr{vip4, vip6} {
		err := f.director.Do(func() error {
			return netlink.RouteAdd(&netlink.Route{
				Dst:  &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(vip.BitLen(), vip.BitLen())},
				Type: unix.RTN_BLACKHOLE,
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.re = reflect(t, f.director, cfg, workers,
		pktio.Filter{MACs: [][6]byte{[6]byte(f.director.MAC("eth0"))}, Addrs: []netip.Addr{vip4, vip6}},
		"eth0", "eth0", [6]byte(f.server.MAC("eth0")))
	return f
}

// upload sends size random bytes over TCP to the VIP and checks that the server
// read the same.
func (f *farm) upload(t testing.TB, vip netip.Addr, size int) time.Duration {
	t.Helper()
	addr := netip.AddrPortFrom(vip, 8080).String()
	ln, err := f.server.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	type result struct {
		sum [sha256.Size]byte
		n   int64
		err error
	}
	read := make(chan result, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			read <- result{err: err}
			return
		}
		defer c.Close()
		h := sha256.New()
		n, err := io.Copy(h, c)
		read <- result{[sha256.Size]byte(h.Sum(nil)), n, err}
	}()
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := f.client.Dial(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	got := <-read
	took := time.Since(begin)
	if got.err != nil || got.n != int64(size) || got.sum != sha256.Sum256(data) {
		t.Fatalf("%d bytes of %d, same content %v, %v", got.n, size, got.sum == sha256.Sum256(data), got.err)
	}
	return took
}

// A real TCP upload with all offloads on passes as super-frames.
func TestUploadWithOffloads(t *testing.T) {
	for _, workers := range []int{1, 2} {
		f := newFarm(t, Config{}, workers)
		for _, vip := range []netip.Addr{vip4, vip6} {
			const size = 50 << 20
			took := f.upload(t, vip, size)
			var long, packets, lost uint64
			for _, r := range f.re.rs {
				st := r.Stats()
				long, packets, lost = long+st.Long, packets+st.Packets, lost+st.Dropped+st.Truncated
			}
			if long == 0 {
				t.Errorf("no super-frame among %d frames", packets)
			}
			t.Logf("%d workers, to %v: %.0f MB/s; %d frames, %d longer than a slot, %d lost; %+v",
				workers, vip, size/1e6/took.Seconds(), packets, long, lost, f.re.s.Stats())
		}
	}
}

// Slots that super-frames fit into need no fetching.
func TestUploadThroughLargeSlots(t *testing.T) {
	f := newFarm(t, Config{Slots: 256, SlotSize: 128 << 10, LongSize: 128 << 10}, 1)
	took := f.upload(t, vip4, 50<<20)
	st := f.re.rs[0].Stats()
	if st.Long != 0 {
		t.Errorf("%+v", st)
	}
	t.Logf("%.0f MB/s; %+v", 50<<20/1e6/took.Seconds(), st)
}

// UDP datagrams of all sizes arrive: whole, or in fragments that stay fragments.
func TestDatagramsAndFragments(t *testing.T) {
	f := newFarm(t, Config{}, 2)
	for _, vip := range []netip.Addr{vip4, vip6} {
		addr := netip.AddrPortFrom(vip, 5353).String()
		pc, err := f.server.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		c, err := f.client.Dial(t.Context(), "udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 65536)
		for _, size := range []int{1, 2, 100, 1400, 1471, 1472, 1473, 1499, 3000, 10000, 60000} {
			data := make([]byte, size)
			rand.NewChaCha8([32]byte{byte(size)}).Read(data)
			if _, err := c.Write(data); err != nil {
				t.Fatal(err)
			}
			pc.SetReadDeadline(time.Now().Add(patience * time.Millisecond))
			n, _, err := pc.ReadFrom(buf)
			if err != nil || !bytes.Equal(buf[:n], data) {
				t.Errorf("%v: a datagram of %d bytes came as %d, %v", vip, size, n, err)
			}
		}
	}
}

// superFrame makes a TCP super-frame with a partial checksum.
func (w *wire) superFrame(size int) []byte {
	buf := w.frame(size, 1, 0)
	h, ip := buf[:pktio.HeaderLen], buf[pktio.HeaderLen+14:]
	h[0], h[1] = 1, 1
	binary.NativeEndian.PutUint16(h[2:], 54)
	binary.NativeEndian.PutUint16(h[4:], 1448)
	binary.NativeEndian.PutUint16(h[6:], 34)
	binary.NativeEndian.PutUint16(h[8:], 16)
	ip[9], ip[10], ip[11] = 6, 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip[:20]))
	tcp := ip[20:]
	clear(tcp[4:20])
	tcp[12], tcp[13] = 5<<4, 0x10
	return buf
}

// A super-frame that the device cannot cut leaves in segments, not at all
// lost: one beyond the device's limit, and any when the offload is off.
func TestSuperFrameThatTheDeviceCannotCut(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int
		off  bool
	}{
		{"beyond the limit", 65549, false},
		{"offload off", 30014, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWire(t)
			if tc.off {
				if _, err := exec.LookPath("ethtool"); err != nil {
					if os.Getenv("SVM_REQUIRE") == "1" {
						t.Fatal("ethtool is missing")
					}
					t.Skip("ethtool is missing")
				}
				if out, err := w.a.Command(t.Context(), "ethtool", "-K", "eth0", "tso", "off", "tx", "off", "sg", "off").CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			r, s := w.receivers(t, Config{}, 1)[0], w.sender(t, w.a)
			for range 3 {
				send(t, s, w.frame(60, 1, 1), w.superFrame(tc.size), w.frame(60, 1, 2))
			}
			want := 3 * (2*(60-34) + (tc.size - 54))
			var rx pktio.Batch
			for payload := 0; payload < want; r.Release(&rx) {
				if err := r.Recv(&rx, patience); err != nil || rx.N == 0 {
					t.Fatalf("%d bytes of payload of %d, %v; %+v %+v", payload, want, err, r.Stats(), s.Stats())
				}
				for i := range rx.Frames[:rx.N] {
					eth := rx.Frames[i].Eth()
					if len(eth) > 1514 {
						t.Fatalf("a frame of %d bytes: it was not cut", len(eth))
					}
					if eth[23] == 6 {
						payload += len(eth) - 54
					} else {
						payload += len(eth) - 34
					}
				}
			}
			if st := s.Stats(); st.Packets != 9 || st.Busy+st.TooLong+st.Errors != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}
