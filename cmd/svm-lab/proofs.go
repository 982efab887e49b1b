package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/bench/netlab"
)

// proof is one thing that has to hold beside the answers.
type proof struct {
	says string   // what is claimed
	saw  []string // what was seen, a line each
	err  error    // why it does not hold
}

// counters are the packet counters that tell which way the traffic goes.
type counters struct{ directorIn, directorOn, directorBack, replies uint64 }

func (f *stage) counters() counters {
	d := f.EDS[0]
	c, s := d.Counters("eth0"), d.Counters("eth1")
	return counters{c.RxPackets, s.TxPackets, c.TxPackets, f.Back.Counters(f.BackDev).RxPackets}
}

// strayShare is which part of the replies' number the director may send towards
// the client for its own sake (ARP, announcements), and strays how many anyhow.
const (
	strayShare = 50
	strays     = 100
)

// proveBypass compares the counters of before and after the requests.
func (f *stage) proveBypass(before counters, answered int) proof {
	now := f.counters()
	in, on := now.directorIn-before.directorIn, now.directorOn-before.directorOn
	back, replies := now.directorBack-before.directorBack, now.replies-before.replies
	p := proof{says: "replies do not pass the director", saw: []string{
		fmt.Sprintf("%s got %d packets, passed %d on to servers, sent %d back", f.EDS[0].Name(), in, on, back),
		fmt.Sprintf("%s got %d packets of replies from the servers", f.Back.Name(), replies),
	}}
	switch {
	case replies < uint64(answered):
		p.err = fmt.Errorf("%d answers, but only %d packets through %s", answered, replies, f.Back.Name())
	case back > strays+replies/strayShare:
		p.err = fmt.Errorf("%s sent %d packets towards the client", f.EDS[0].Name(), back)
	case on < uint64(answered):
		p.err = fmt.Errorf("%d answers, but %s passed only %d packets on", answered, f.EDS[0].Name(), on)
	}
	return p
}

// proveOwner asks both networks who has the VIP. On the client network the
// active director has to answer, alone; on the server network no real server
// and no backup may.
func (f *stage) proveOwner(ctx context.Context, fam farm.Family) proof {
	asking := "ARP"
	if fam == 6 {
		asking = "NDP"
	}
	vip := netip.MustParseAddr(f.VIP(fam))
	p := proof{says: fmt.Sprintf("%s for %s is answered by the active director alone", asking, vip)}
	r1 := netip.MustParseAddr(farm.ClientNet().Addr(fam, farm.Router1Host))
	r2 := netip.MustParseAddr(f.ServerNet.Addr(fam, farm.Router2Host))
	active := f.EDS[0]
	front, err := whoHas(ctx, f.Router1, "eth1", r1, vip, true)
	if err == nil {
		p.saw = append(p.saw, "client network: "+f.names(front))
		if want := []string{active.MAC("eth0").String()}; !slices.Equal(front, want) {
			err = fmt.Errorf("on the client network: %s, want %s alone", f.names(front), f.names(want))
		}
	}
	behind, err2 := whoHas(ctx, f.Back, f.BackDev, r2, vip, false)
	if err2 == nil {
		p.saw = append(p.saw, "server network: "+f.names(behind))
		for _, mac := range behind {
			if mac != active.MAC("eth1").String() {
				err2 = fmt.Errorf("on the server network: %s, want nobody", f.names(behind))
			}
		}
	}
	if p.err = err; err == nil {
		p.err = err2
	}
	return p
}

// names puts the names of devices beside their hardware addresses.
func (f *stage) names(macs []string) string {
	if len(macs) == 0 {
		return "nobody"
	}
	var out []string
	for _, m := range macs {
		name := f.Device(m)
		if name == "" {
			name = "?"
		}
		out = append(out, fmt.Sprintf("%s (%s)", name, m))
	}
	return strings.Join(out, ", ")
}

// proveFrame follows one request's frame from router1 to the real server: only
// the Ethernet addresses may differ. And the reply must go to the other router.
func (f *stage) proveFrame(ctx context.Context, c *caller) proof {
	p := proof{says: fmt.Sprintf("%s: the director changes nothing but Ethernet addresses", c.Family)}
	before := f.Router1.Capture("eth1")
	defer before.Stop()
	after := map[string]*netlab.Capture{}
	for _, s := range f.EPS {
		after[s.Name()] = s.Capture("eth0")
		defer after[s.Name()].Stop()
	}
	uri := fmt.Sprintf("/proof?%x", time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, server, err := c.Page(ctx, uri)
	if err != nil {
		p.err = err
		return p
	}
	request := func(outgoing bool) func(netlab.Frame) bool {
		return func(fr netlab.Frame) bool {
			return fr.Outgoing == outgoing && bytes.Contains(fr.Data, []byte("GET "+uri))
		}
	}
	var a, b, r netlab.Frame
	err = farm.Await(ctx, func() bool {
		return first(before, &a, request(true)) && first(after[server], &b, request(false)) &&
			first(after[server], &r, func(fr netlab.Frame) bool {
				return fr.Outgoing && bytes.Contains(fr.Data, []byte(farm.Greeting(server, "", "")[:len(server)+11]))
			})
	})
	if err != nil {
		p.err = fmt.Errorf("the frames of request %s were not seen at router1 and %s: %w", uri, server, err)
		return p
	}
	show := func(where string, fr netlab.Frame) {
		p.saw = append(p.saw, fmt.Sprintf("%-8s %s > %s  % x ...", where, f.short(fr.Data[6:12]), f.short(fr.Data[:6]), fr.Data[12:24]))
	}
	show("request", a)
	show("became", b)
	show("reply", r)
	wantTo := f.Back.MAC(f.BackDev)
	switch {
	case !bytes.Equal(a.Data[12:], b.Data[12:]):
		p.err = fmt.Errorf("from byte %d on the frame is another one behind the director", firstDifference(a.Data, b.Data, 12))
	case !bytes.Equal(a.Data[:6], f.EDS[0].MAC("eth0")) || !bytes.Equal(b.Data[6:12], f.EDS[0].MAC("eth1")):
		p.err = fmt.Errorf("the frame did not go through %s", f.EDS[0].Name())
	case !bytes.Equal(r.Data[:6], wantTo):
		p.err = fmt.Errorf("the reply went to %s, want %s", f.short(r.Data[:6]), f.short(wantTo))
	default:
		p.saw = append(p.saw, fmt.Sprintf("%d bytes behind the Ethernet addresses are the same", len(a.Data)-12))
	}
	return p
}

func (f *stage) short(mac []byte) string {
	m := net.HardwareAddr(mac).String()
	if name := f.Device(m); name != "" {
		return name
	}
	return m
}

func firstDifference(a, b []byte, from int) int {
	for i := from; i < min(len(a), len(b)); i++ {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// first stores the first frame that is wanted, and tells whether there is one.
func first(c *netlab.Capture, f *netlab.Frame, want func(netlab.Frame) bool) bool {
	if got := c.Select(want); len(got) > 0 {
		*f = got[0]
		return true
	}
	return false
}

// proveReach asks a real server at its own address, past the director: possible
// with a public server network only.
func (f *stage) proveReach(ctx context.Context, fam farm.Family) proof {
	p := proof{says: fmt.Sprintf("%s: a real server's own address is out of the client's reach", fam)}
	if f.Topology.Public {
		p.says = fmt.Sprintf("%s: the client reaches a real server's own address, too", fam)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addr := net.JoinHostPort(f.ServerNet.Addr(fam, farm.ServerHost), "80")
	conn, err := f.Client.Dial(ctx, "tcp", addr)
	switch {
	case err == nil:
		conn.Close()
		p.saw = []string{addr + " answers"}
		if !f.Topology.Public {
			p.err = fmt.Errorf("%s, which is private, answers the client", addr)
		}
	case f.Topology.Public:
		p.err = err
	default:
		p.saw = []string{err.Error()}
	}
	return p
}

// proveBulk moves one big file each way through the VIP.
func (f *stage) proveBulk(ctx context.Context, c *caller, size int64) proof {
	p := proof{says: fmt.Sprintf("%s: %d MB down and %d MB up arrive intact, all offloads on", c.Family, size>>20, size>>20)}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, way := range []struct {
		name string
		move func(context.Context, int64) (string, error)
	}{{"down from", c.Download}, {"up to", c.Upload}} {
		start := time.Now()
		server, err := way.move(ctx, size)
		if err != nil {
			p.err = err
			return p
		}
		p.saw = append(p.saw, fmt.Sprintf("%s %s: %.0f MB/s", way.name, server, float64(size>>20)/time.Since(start).Seconds()))
	}
	return p
}
