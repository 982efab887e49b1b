package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

// testCrash kills svm-fwd with -9 and starts it again, while downloads, uploads and
// idle connections are open, on services with a scheduler that remembers nothing
// (wlc) and one that begins anew (rr). None of them breaks.
func testCrash(t *testing.T, r *rig) {
	vips := []int{webVIP, rrVIP}
	idle := r.holdEach(t, 5, vips...)
	var moving []*transfer
	for _, fam := range farm.Both() {
		for _, vip := range vips {
			moving = append(moving, r.download(t, fam, vip), r.upload(t, fam, vip))
		}
	}
	var callers []*farm.Caller
	for _, fam := range farm.Both() {
		for _, vip := range vips {
			callers = append(callers, r.caller(fam, vip))
		}
	}
	l := startLoad(t, callers...)
	l.more(t, 20)
	set := r.director.State()
	for round := range 2 {
		r.kill()
		if round == 0 {
			each(t, r.silentWhileDead)
		}
		r.start(t)
		if s := r.status(t); s.Table.Recovered < len(idle) {
			t.Errorf("%d connections recovered, %d are open", s.Table.Recovered, len(idle))
		}
		l.more(t, 40)
		askAll(t, fmt.Sprintf("after kill %d", round+1), idle)
	}
	for _, m := range moving {
		if err := m.finish(); err != nil {
			t.Errorf("%s: %v", m.what, err)
		}
	}
	l.stop(t)
	for _, line := range netlab.Diff(set, r.director.State()) {
		t.Errorf("after kill -9 and a new start: %s", line)
	}

	r.term(t)
	if err := r.Traces(r.director); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	r.start(t)
	for _, c := range callers {
		if _, _, err := c.Page(t.Context(), "/"); err != nil {
			t.Error(err)
		}
	}
}

// silentWhileDead: with svm-fwd gone, the director's kernel gets the frames for the
// VIPs and must neither refuse nor forward them, even where it is a router. What
// the former process has set sees to that.
func (r *rig) silentWhileDead(t *testing.T, fam farm.Family) {
	defer r.route()()
	tap := r.director.Capture("eth0")
	defer tap.Stop()
	m := r.maker(t, fam, rrVIP)
	for _, s := range append(m.tcpSamples(), m.udpSamples()...) {
		for _, f := range s.frames {
			r.check(t, r.Router1.Send("eth1", f))
		}
	}
	// An echo to the director's own address comes back after all of those.
	own := *m
	own.src, own.dst = net.ParseIP(farm.ClientNet().Addr(fam, farm.Router1Host)), net.ParseIP(farm.ClientNet().Addr(fam, farm.DirectorHost))
	echo := own.frame(own.ip(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7})
	if fam == 6 {
		echo = own.frame(own.ip(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}, gopacket.Payload([]byte{0, 7, 0, 0}))
	}
	r.check(t, r.Router1.Send("eth1", echo))
	reply := func(f netlab.Frame) bool {
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		v4, ok4 := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		v6, ok6 := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		return f.Outgoing && (ok4 && v4.TypeCode.Type() == layers.ICMPv4TypeEchoReply || ok6 && v6.TypeCode.Type() == layers.ICMPv6TypeEchoReply)
	}
	tap.Wait(t, patience, reply, "the director's kernel answers for its own address")
	for _, f := range tap.Select(func(f netlab.Frame) bool { return f.Outgoing }) {
		if why := r.kernelSpoke(f.Data); why != "" {
			t.Errorf("%s:\n%s", why, hex.Dump(f.Data[:min(len(f.Data), 96)]))
		}
	}
}

// transfer is a request that was begun, and stands still until finish.
type transfer struct {
	what   string
	finish func() error
}

const transferSize = 8 << 20

func (r *rig) url(fam farm.Family, vip int, path string) string {
	return "http://" + net.JoinHostPort(r.MoreVIP(fam, vip), "80") + path
}

// download reads the first half of a file and leaves the rest for later.
func (r *rig) download(t *testing.T, fam farm.Family, vip int) *transfer {
	t.Helper()
	resp, err := r.client().Get(r.url(fam, vip, fmt.Sprintf("/bytes/%d", transferSize)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	h := sha256.New()
	if _, err := io.CopyN(h, resp.Body, transferSize/2); err != nil {
		t.Fatal(err)
	}
	return &transfer{fmt.Sprintf("download from %s over %s", resp.Header.Get(farm.ServerHeader), fam), func() error {
		n, err := io.Copy(h, resp.Body)
		if err == nil && !bytes.Equal(h.Sum(nil), farm.ContentSum(transferSize)) {
			err = fmt.Errorf("other bytes than were sent, %d after the crash", n)
		}
		return err
	}}
}

// upload sends the first half of a file and leaves the rest for later.
func (r *rig) upload(t *testing.T, fam farm.Family, vip int) *transfer {
	t.Helper()
	half, resume := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(resume) })
	t.Cleanup(goOn)
	content := farm.Content(transferSize)
	body := io.MultiReader(io.LimitReader(content, transferSize/2), reader(func([]byte) (int, error) {
		close(half)
		<-resume
		return 0, io.EOF
	}), content)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url(fam, vip, "/upload"), body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = transferSize
	ended := make(chan error, 1)
	go func() {
		resp, err := r.client().Do(req)
		if err == nil {
			var answer []byte
			answer, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := farm.Receipt(transferSize, farm.ContentSum(transferSize)); err == nil && string(answer) != want {
				err = fmt.Errorf("the server got %q, sent %q", answer, want)
			}
		}
		ended <- err
	}()
	select {
	case <-half:
	case err := <-ended:
		t.Fatalf("upload: %v", err)
	}
	return &transfer{fmt.Sprintf("upload over %s", fam), func() error {
		goOn()
		return <-ended
	}}
}

// client makes requests that may take long.
func (r *rig) client() *http.Client {
	c := r.Client.FreshHTTPClient()
	c.Timeout = 0
	return c
}

// reader is a function that is read from once.
type reader func([]byte) (int, error)

func (f reader) Read(b []byte) (int, error) { return f(b) }
