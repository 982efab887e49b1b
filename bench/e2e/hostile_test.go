package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// testRandomFrames floods the director's device with nonsense, and with sensible
// frames that have some bytes changed. It goes on forwarding.
func testRandomFrames(t *testing.T, r *rig) {
	total := 100_000
	if testing.Short() {
		total = 20_000
	}
	var seeds [][]byte
	for _, fam := range farm.Both() {
		m := r.maker(t, fam, rrVIP)
		list := append(m.tcpSamples(), m.errorSamples()...)
		list = append(list, m.udpSamples()...)
		if fam == 4 {
			list = append(list, m.samples4()...)
		} else {
			list = append(list, m.samples6()...)
		}
		for _, s := range list {
			seeds = append(seeds, s.frames...)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	before, memory := r.received(t), r.resident(t)
	pid := r.daemon.Process.Pid
	r.flood(t, total, 30*time.Second, func(f []byte) []byte {
		if rnd.IntN(4) == 0 { // nonsense behind an Ethernet header of each kind
			f = f[:14+rnd.IntN(120)]
			for i := range f {
				f[i] = byte(rnd.Uint32())
			}
			copy(f, seeds[0][:12])
			copy(f[12:], [][]byte{{8, 0}, {0x86, 0xdd}, {8, 6}, {0x81, 0}}[rnd.IntN(4)])
			return f
		}
		seed := seeds[rnd.IntN(len(seeds))]
		f = f[:copy(f, seed)]
		for range 1 + rnd.IntN(4) {
			f[12+rnd.IntN(len(f)-12)] ^= byte(1 << rnd.IntN(8))
		}
		if rnd.IntN(8) == 0 {
			f = f[:14+rnd.IntN(len(f)-14)]
		}
		return f
	})
	if n := r.received(t) - before; n < uint64(total)/4 {
		t.Errorf("the director saw %d of %d frames: the test shows less than it should", n, total)
	}
	r.unhurt(t, pid, memory)
}

// testFlood sends SYNs from random clients while downloads go on.
func testFlood(t *testing.T, r *rig) {
	const total = 1_000_000
	open := r.holdEach(t, 4, webVIP, rrVIP)
	memory, pid := r.resident(t), r.daemon.Process.Pid
	const size = 30 << 20
	var downloads sync.WaitGroup
	for _, fam := range farm.Both() {
		for _, vip := range []int{webVIP, rrVIP} {
			c := r.caller(fam, vip)
			began := make(chan struct{})
			downloads.Go(func() {
				close(began)
				if _, err := c.Download(t.Context(), size); err != nil {
					t.Errorf("a download during the flood: %v", err)
				}
			})
			<-began
		}
	}
	newcomers := make(chan error)
	go func() {
		var err error
		for i := range 5 {
			for _, fam := range farm.Both() {
				if _, _, e := r.Caller(fam).Page(t.Context(), "/"); e != nil {
					err = fmt.Errorf("new connection %d during the flood: %w", i, e)
				}
			}
		}
		newcomers <- err
	}()
	var seeds [][]byte
	for _, fam := range farm.Both() {
		m := r.maker(t, fam, webVIP)
		seeds = append(seeds, m.frame(m.ip(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1, DstPort: 80, SYN: true, Window: 1024}, gopacket.Payload("")))
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	sent, took := r.flood(t, total, 20*time.Second, func(f []byte) []byte {
		if rnd.IntN(2) == 0 {
			f = f[:copy(f, seeds[0])]
			binary.BigEndian.PutUint32(f[26:], 10<<24|rnd.Uint32N(1<<24))
			binary.BigEndian.PutUint16(f[24:], 0)
			binary.BigEndian.PutUint16(f[24:], checksum(f[14:34]))
			binary.BigEndian.PutUint16(f[34:], uint16(1024+rnd.Uint32N(60000)))
			return f // the server drops it for its checksum, which is not tried here
		}
		f = f[:copy(f, seeds[1])]
		copy(f[22:], []byte{0xfd, 0x99})
		binary.BigEndian.PutUint64(f[30:], rnd.Uint64())
		binary.BigEndian.PutUint16(f[54:], uint16(1024+rnd.Uint32N(60000)))
		return f
	})
	t.Logf("%d SYNs in %s", sent, took.Round(time.Millisecond))
	s := r.status(t)
	if s.Table.HalfOpen > s.Table.HalfOpenBound || s.Table.Used > s.Table.Size {
		t.Errorf("%d half-open connections of at most %d, %d of %d entries", s.Table.HalfOpen, s.Table.HalfOpenBound, s.Table.Used, s.Table.Size)
	}
	if s.Table.HalfOpen < s.Table.HalfOpenBound/2 {
		t.Errorf("%d half-open connections of at most %d: the test shows less than it should", s.Table.HalfOpen, s.Table.HalfOpenBound)
	}
	downloads.Wait()
	if err := <-newcomers; err != nil {
		t.Error(err)
	}
	askAll(t, "after the flood", open)
	r.unhurt(t, pid, memory)
}

// flood sends frames made by next from router1's side to the director, so many or
// for so long. next gets a buffer of 2000 bytes to write a frame into.
func (r *rig) flood(t *testing.T, n int, limit time.Duration, next func([]byte) []byte) (sent int, took time.Duration) {
	t.Helper()
	var tx *afpacket.Sender
	if err := r.Router1.Do(func() (err error) {
		tx, err = afpacket.NewSender(afpacket.SenderConfig{Device: "eth1"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	var bufs [pktio.BatchSize][pktio.HeaderLen + 2000]byte
	var batch pktio.Batch
	start := time.Now()
	for sent < n && time.Since(start) < limit {
		batch.N = 0
		for i := range bufs {
			f := next(bufs[i][pktio.HeaderLen:])
			batch.Add(&pktio.Frame{Buf: bufs[i][:pktio.HeaderLen+len(f)]})
		}
		if err := tx.Send(&batch); err != nil {
			t.Fatal(err)
		}
		sent += batch.N
	}
	if s := tx.Stats(); s.Packets < uint64(sent)*9/10 {
		t.Errorf("only %d of %d frames left: %+v", s.Packets, sent, s)
	}
	return sent, time.Since(start)
}

// unhurt looks whether the director is the same process, forwards and has not grown.
func (r *rig) unhurt(t *testing.T, pid int, memory int64) {
	t.Helper()
	r.check(t, r.Dead())
	if r.daemon.Process.Pid != pid {
		t.Error("svm-fwd is another process now")
	}
	each(t, func(t *testing.T, fam farm.Family) {
		c := r.Caller(fam)
		for range 10 {
			if _, _, err := c.Page(t.Context(), "/"); err != nil {
				t.Error(err)
			}
		}
	})
	r.await(t, "no receive ring is stuck", func(s *control.Status) bool { return s.Role == "active" })
	// The table's pages count when they are first used: 64 bytes an entry.
	size := int64(r.status(t).Table.Size) * 64
	if now := r.resident(t); now > memory+size+16<<20 {
		t.Errorf("resident memory went from %d to %d KB; the table has %d", memory>>10, now>>10, size>>10)
	}
}

// resident is svm-fwd's resident memory in bytes.
func (r *rig) resident(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.daemon.Process.Pid))
	r.check(t, err)
	for line := range bytes.Lines(b) {
		if rest, ok := strings.CutPrefix(string(line), "VmRSS:"); ok {
			var kb int64
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
