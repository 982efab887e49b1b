package provision

import (
	"net"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// Whatever comes in on port 67 is answered or not, and what is answered gives nothing
// but the fixed address of the machine that asks.
func FuzzDHCP(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{1, 3, 4, 7, 8} {
		for _, from := range []string{macEPS1, macEPS2} {
			m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac(from)), dhcpv4.WithMessageType(kind), named("eps2"), wants(addrEPS1), dhcpv4.WithRequestedOptions(directorsOption))
			check(f, err)
			f.Add(m.ToBytes())
		}
	}
	x := newDesktop(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		clear(x.known)
		x.told = nil
		s := &service{desk: x.desk, count: func(Count) {}, unknown: func(net.HardwareAddr, string) {},
			macs: newBuckets[netMAC](5, 10, 10), stranger: newBuckets[struct{}](5, 10, 1), busy: map[string]bool{}}
		m, node := s.sift(b, time.Now())
		if m == nil {
			return
		}
		r := x.answer(t.Context(), m, x.who(m), x.now)
		if r == nil {
			return
		}
		destination(m, r)
		back, err := dhcpv4.FromBytes(r.ToBytes())
		if err != nil {
			t.Fatalf("our answer can't be read: %v", err)
		}
		if a := addr4(back.YourIPAddr); a.IsValid() && a.String() != map[string]string{"eps1": addrEPS1, "eps2": addrEPS2}[node] {
			t.Errorf("%s gets %s", node, a)
		}
	})
}

// An acknowledgement of anybody gives a sensible lease or an error.
func FuzzLease(f *testing.F) {
	x := newDesktop(f)
	r, _ := x.ask(f, macEPS1, dhcpv4.MessageTypeDiscover, dhcpv4.WithRequestedOptions(directorsOption))
	f.Add(r.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		ours(m)
		l, err := newLease(&nclient4.Lease{Offer: m, ACK: m, CreationTime: time.Now()})
		if err != nil {
			return
		}
		if !l.prefix.IsValid() || l.prefix.Bits() < 8 || len(l.directors) > 4 || l.until.Sub(l.renew) <= 0 || l.router.IsValid() && !l.prefix.Contains(l.router) {
			t.Errorf("%+v", l)
		}
	})
}
