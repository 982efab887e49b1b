package pair

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/ha"
)

// TestLies sends the pair what an attacker on the server network could: recorded
// advertisements again, forged ones with and without a wrong key, altered and cut
// ones, noise to the port of the copy. No role changes, no session ends, and all of
// it is counted.
func TestLies(t *testing.T) {
	r := newRig(t, setup{})
	text, err := os.ReadFile(r.Path(r.EDS[0], "ha.key"))
	r.check(t, err)
	if len(strings.TrimSpace(string(text))) != 64 {
		t.Fatalf("the farm's key is %q", text)
	}
	l := r.open(t, 50, 0, 0)
	c := r.Station.Capture("eth0")
	r.hears(t, 1, "ok", 8)
	r.hears(t, 0, "hello", 4)
	var recorded []netlab.Frame
	for _, f := range c.Frames() {
		if d := f.Data; len(d) > 34 && d[12] == 8 && d[23] == 112 || len(d) > 54 && d[12] == 0x86 && d[20] == 112 {
			recorded = append(recorded, f)
		}
	}
	c.Stop()
	if len(recorded) < 4 {
		t.Fatalf("%d advertisements were recorded", len(recorded))
	}
	before := [2]control.PairStatus{r.pair(t, 0), r.pair(t, 1)}
	began := time.Now()
	send := r.sender(t)
	rnd := rand.New(rand.NewPCG(3, 5))
	for _, f := range recorded {
		copy(f.Data[6:], r.Station.MAC("eth0")) // the switch is not lied to
		send(f.Data)
		head := 34
		if f.Data[12] == 0x86 {
			head = 54
		}
		// Another priority in it, shorter, and as from somebody without a key. The
		// kernel checks no checksum of raw sockets' payload.
		other := bytes.Clone(f.Data)
		other[head+2] ^= 0x55
		send(other)
		for range 20 {
			noisy := bytes.Clone(f.Data)
			for range 1 + rnd.IntN(4) {
				noisy[head+rnd.IntN(len(noisy)-head)] ^= byte(1 + rnd.IntN(255))
			}
			send(noisy)
		}
	}
	forge(t, r)
	junk(r, send, rnd)

	refused := []string{ha.Replayed.String(), ha.BadSeal.String(), ha.Unauthenticated.String(), ha.BadChecksum.String()}
	for i := range 2 {
		r.await(t, i, "has counted every kind of lie", func(p *control.PairStatus) bool {
			for _, why := range refused {
				// A director hears nothing of itself: its own recordings are the other's.
				if p.HA.Received[why] <= before[i].HA.Received[why] {
					return false
				}
			}
			n := uint64(0)
			for _, v := range p.Sync.Refused {
				n += v
			}
			for _, v := range before[i].Sync.Refused {
				n -= v
			}
			return n >= 100
		})
		after := r.pair(t, i)
		if after.HA.Role != before[i].HA.Role || after.HA.Transitions != before[i].HA.Transitions || after.HA.Priority != before[i].HA.Priority {
			if !r.stood(began) {
				t.Errorf("%s: was %+v, is %+v", r.EDS[i].Name(), before[i].HA, after.HA)
			}
		}
		if after.Sync.Sessions != before[i].Sync.Sessions || !after.Sync.Session {
			t.Errorf("%s: the session ended: was %+v, is %+v", r.EDS[i].Name(), before[i].Sync, after.Sync)
		}
	}
	for _, err := range l.Finish("after the lies") {
		t.Error(err)
	}
}

// sender puts frames onto the station's wire.
func (r *rig) sender(t *testing.T) func([]byte) {
	t.Helper()
	fd := -1
	r.check(t, r.Station.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	t.Cleanup(func() { _ = unix.Close(fd) })
	to := &unix.SockaddrLinklayer{Ifindex: r.Station.Index("eth0")}
	return func(frame []byte) { r.check(t, unix.Sendto(fd, frame, 0, to)) }
}

// forge sends advertisements of priority 254 and 0: plain ones, and ones that are
// sealed with another key.
func forge(t *testing.T, r *rig) {
	t.Helper()
	key, _ := hex.DecodeString(strings.Repeat("5a", 32))
	for _, fam := range farm.Both() {
		from := netip.MustParseAddr(r.ServerNet.Addr(fam, farm.StationHost))
		to, network := ha.Group4(), "ip4:112"
		if fam == 6 {
			to, network = ha.Group6(), "ip6:112"
		}
		seal, err := ha.NewSeal(key, from)
		r.check(t, err)
		pc, err := r.Station.ListenPacket(network, from.String())
		r.check(t, err)
		defer pc.Close()
		zone := ""
		if fam == 6 {
			zone = "eth0"
		}
		vip := netip.MustParseAddr(r.VIP(fam))
		r.check(t, r.Station.Do(func() error { return hops(pc, fam) }))
		for _, priority := range []uint8{254, 0, 255} {
			a := ha.Advert{VRID: 51, Priority: priority, Interval: interval, Addrs: []netip.Addr{vip}}
			for _, b := range [][]byte{a.Append(nil, from, to, ha.ChecksumPseudoHeader), seal.Append(nil, &a, from, to, ha.ChecksumPseudoHeader)} {
				_, err := pc.WriteTo(b, &net.IPAddr{IP: to.AsSlice(), Zone: zone})
				r.check(t, err)
			}
		}
	}
}

// junk sends noise to both directors' port of the copy, from the other director's
// address as far as anyone can see.
func junk(r *rig, send func([]byte), rnd *rand.Rand) {
	const port = 8484
	mac := r.Station.MAC("eth0")
	for i, d := range r.EDS {
		from, to := net.ParseIP(r.ServerNet.Addr(4, farm.DirectorHost+1-i)), net.ParseIP(r.ServerNet.Addr(4, farm.DirectorHost+i))
		for range 300 {
			b := make([]byte, rnd.IntN(1300))
			for k := range b {
				b[k] = byte(rnd.Uint32())
			}
			if len(b) > 2 && rnd.IntN(2) == 0 {
				b[0], b[1] = 1, byte(rnd.IntN(4))
			}
			send(datagram(mac, d.MAC("eth1"), from, to, port, b))
		}
	}
}

// datagram is a frame with a UDP datagram without checksum.
func datagram(src, dst net.HardwareAddr, from, to net.IP, port int, b []byte) []byte {
	f := slices.Concat([]byte(dst), []byte(src), []byte{8, 0})
	n := 20 + 8 + len(b)
	ip := []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0, 0, 64, 17, 0, 0}
	ip = append(append(ip, from.To4()...), to.To4()...)
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	ip[10], ip[11] = byte(^sum>>8), byte(^sum)
	udp := []byte{byte(port >> 8), byte(port), byte(port >> 8), byte(port), byte((8 + len(b)) >> 8), byte(8 + len(b)), 0, 0}
	return slices.Concat(f, ip, udp, b)
}

// hops sets TTL or hop limit 255, and the device of the group.
func hops(pc net.PacketConn, fam farm.Family) error {
	raw, err := pc.(*net.IPConn).SyscallConn()
	if err != nil {
		return err
	}
	var e error
	err = raw.Control(func(fd uintptr) {
		if fam == 4 {
			e = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255)
		} else {
			e = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
		}
	})
	return errors.Join(err, e)
}
