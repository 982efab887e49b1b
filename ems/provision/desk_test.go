package provision

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/svm-cluster/svm/ems/cluster"
)

const (
	macEPS1   = "02:53:56:00:00:01"
	macEPS2   = "02:53:56:00:00:02"
	macOther  = "02:53:56:00:00:09"
	addrEPS1  = "192.168.2.11"
	addrEPS2  = "192.168.2.12"
	otherAddr = "192.168.2.13"
)

// desktop is a desk, and a network where holders have addresses.
type desktop struct {
	*desk
	now     time.Time
	holders map[string][]string // address: MACs
	probes  int
	fails   error
	counts  map[Count]int
	told    []string
}

func newDesktop(t testing.TB, edit ...string) *desktop {
	t.Helper()
	text := strings.NewReplacer(edit...).Replace((&station{name: "shop", mac: macEPS1}).yaml())
	c, err := cluster.Parse("cluster.yaml", []byte(text))
	check(t, err)
	x := &desktop{now: time.Unix(1000, 0), holders: map[string][]string{}, counts: map[Count]int{}}
	ask := func(_ context.Context, a netip.Addr) (macs []net.HardwareAddr, err error) {
		x.probes++
		for _, h := range x.holders[a.String()] {
			macs = append(macs, mac(h))
		}
		return macs, x.fails
	}
	if why := noDHCP(c, c.Director("eds1")); why != "" {
		t.Fatal(why)
	}
	x.desk = newDesk(c, c.Director("eds1"), ask, func(n Count, _, text string) {
		x.counts[n]++
		if text != "" {
			x.told = append(x.told, text)
		}
	})
	return x
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// ask gives the desk a message, and returns the answer's kind: 0 for none.
func (x *desktop) ask(t testing.TB, from string, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, dhcpv4.MessageType) {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac(from)), dhcpv4.WithMessageType(kind)}, mods...)...)
	check(t, err)
	rs := x.who(m)
	if rs == nil {
		return nil, 0
	}
	r := x.answer(t.Context(), m, rs, x.now)
	if r == nil {
		return nil, 0
	}
	if r.TransactionID != m.TransactionID || addr4(r.ServerIdentifier()) != x.self {
		t.Errorf("an answer to somebody else, or by somebody else: %s", r.Summary())
	}
	return r, r.MessageType()
}

func named(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptHostName(s)) }
func wants(s string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(s)))
}
func has4(s string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(s)) }
func server(s string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(s)))
}

func TestDesk(t *testing.T) {
	const (
		self, peer           = "192.168.2.2", "192.168.2.3"
		disc, req, inf, none = dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageType(0)
		offer, ack, nak      = dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak
	)
	for _, c := range []struct {
		name    string
		from    string
		kind    dhcpv4.MessageType
		mods    []dhcpv4.Modifier
		holders string // of the address that the machine would get
		want    dhcpv4.MessageType
		addr    string
		count   Count
	}{
		{"discover by MAC", macEPS1, disc, nil, "", offer, addrEPS1, DHCPOffered},
		{"its MAC counts, not its name", macEPS1, disc, []dhcpv4.Modifier{named("eps2")}, "", offer, addrEPS1, DHCPOffered},
		{"it has the address already", macEPS1, disc, nil, macEPS1, offer, addrEPS1, DHCPOffered},
		{"another has it", macEPS1, disc, nil, macOther, none, "", DHCPConflict},
		{"both have it", macEPS1, disc, nil, macEPS1 + " " + macOther, none, "", DHCPConflict},
		{"discover by name", macEPS2, disc, []dhcpv4.Modifier{named("eps2")}, "", offer, addrEPS2, DHCPOffered},
		{"name with a domain, in capitals", macEPS2, disc, []dhcpv4.Modifier{named("EPS2.shop.example")}, "", offer, addrEPS2, DHCPOffered},
		{"name of a server with a MAC", macOther, disc, []dhcpv4.Modifier{named("eps1")}, "", none, "", ""},
		{"a stranger", macOther, disc, nil, "", none, "", ""},
		{"a stranger's request", macOther, req, []dhcpv4.Modifier{wants(addrEPS1)}, "", none, "", ""},
		{"name of a director", macOther, disc, []dhcpv4.Modifier{named("eds1")}, "", none, "", ""},
		{"another address discovered: the fixed one is offered", macEPS1, disc, []dhcpv4.Modifier{wants(otherAddr)}, "", offer, addrEPS1, DHCPOffered},

		{"request for our offer", macEPS1, req, []dhcpv4.Modifier{server(self), wants(addrEPS1)}, "", ack, addrEPS1, DHCPAcknowledged},
		{"request for our offer, another address", macEPS1, req, []dhcpv4.Modifier{server(self), wants(otherAddr)}, "", nak, "", DHCPRefused},
		{"request for the other director's offer", macEPS1, req, []dhcpv4.Modifier{server(peer), wants(addrEPS1)}, "", none, "", DHCPOtherServer},
		{"request for another server's offer", macEPS1, req, []dhcpv4.Modifier{server("192.168.2.99"), wants("192.168.2.50")}, "", none, "", DHCPOtherServer},
		{"after a restart", macEPS1, req, []dhcpv4.Modifier{wants(addrEPS1)}, "", ack, addrEPS1, DHCPAcknowledged},
		{"after a restart, in use", macEPS1, req, []dhcpv4.Modifier{wants(addrEPS1)}, macOther, none, "", DHCPConflict},
		{"after a restart, wrong", macEPS1, req, []dhcpv4.Modifier{wants("10.0.0.1")}, "", nak, "", DHCPRefused},
		{"renew", macEPS1, req, []dhcpv4.Modifier{has4(addrEPS1)}, macEPS1, ack, addrEPS1, DHCPAcknowledged},
		{"renew another", macEPS1, req, []dhcpv4.Modifier{has4(addrEPS2)}, "", nak, "", DHCPRefused},
		{"request for nothing", macEPS1, req, nil, "", nak, "", DHCPRefused},

		{"inform", macEPS1, inf, []dhcpv4.Modifier{has4(addrEPS1)}, "", ack, "", DHCPInformed},
		{"inform from elsewhere", macEPS1, inf, []dhcpv4.Modifier{has4(otherAddr)}, "", none, "", DHCPWrongAddress},
		{"an answer", macEPS1, dhcpv4.MessageTypeOffer, nil, "", none, "", DHCPMalformed},
		{"no kind", macEPS1, none, nil, "", none, "", DHCPMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newDesktop(t)
			x.holders[addrEPS1], x.holders[addrEPS2] = strings.Fields(c.holders), strings.Fields(c.holders)
			r, got := x.ask(t, c.from, c.kind, c.mods...)
			if got != c.want {
				t.Fatalf("answer %v, want %v", got, c.want)
			}
			if c.count != "" && (x.counts[c.count] != 1 || len(x.counts) != 1) {
				t.Errorf("counted %v, want %s", x.counts, c.count)
			}
			if r != nil && c.addr != "" && addr4(r.YourIPAddr).String() != c.addr {
				t.Errorf("gives %s", r.YourIPAddr)
			}
			if r != nil && c.addr == "" && addr4(r.YourIPAddr).IsValid() {
				t.Errorf("gives %s, want none", r.YourIPAddr)
			}
			if hasLease := r != nil && r.GetOneOption(dhcpv4.OptionIPAddressLeaseTime) != nil; hasLease != (c.addr != "") {
				t.Errorf("a lease time: %v", hasLease)
			}
			if c.count == DHCPConflict && len(x.told) != 1 {
				t.Errorf("told %q", x.told)
			}
		})
	}
}

// What a machine is told besides its address.
func TestDeskOptions(t *testing.T) {
	x := newDesktop(t)
	r, _ := x.ask(t, macEPS1, dhcpv4.MessageTypeDiscover, dhcpv4.WithRequestedOptions(directorsOption))
	if r == nil {
		t.Fatal("no offer")
	}
	for name, pair := range map[string][2]string{
		"mask":      {net.IP(r.SubnetMask()).String(), "255.255.255.0"},
		"router":    {r.Router()[0].String(), "192.168.2.254"},
		"name":      {r.HostName(), "eps1"},
		"siaddr":    {r.ServerIPAddr.String(), "192.168.2.2"},
		"lease":     {r.IPAddressLeaseTime(0).String(), "1h0m0s"},
		"directors": {string(r.GetOneOption(directorsOption)), "svm1 192.168.2.2:8485 192.168.2.3:8485"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
	if r, _ = x.ask(t, macEPS1, dhcpv4.MessageTypeDiscover, dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter)); r.GetOneOption(directorsOption) != nil {
		t.Error("option 224 to one who didn't ask")
	}
}

// Two machines that say the same name: the second one waits for the first one's offer
// to lapse; the one that has the address keeps it.
func TestDeskTwoNames(t *testing.T) {
	x := newDesktop(t)
	name := named("eps2")
	discover := func(from string, want dhcpv4.MessageType) {
		t.Helper()
		if _, got := x.ask(t, from, dhcpv4.MessageTypeDiscover, name); got != want {
			t.Fatalf("%s: answer %v, want %v", from, got, want)
		}
	}
	discover(macEPS2, dhcpv4.MessageTypeOffer)
	discover(macOther, 0)
	if x.counts[DHCPClaimedTwice] != 1 {
		t.Errorf("counted %v", x.counts)
	}
	x.now = x.now.Add(offerHolds)
	discover(macOther, dhcpv4.MessageTypeOffer) // the first one never took it
	x.now = x.now.Add(offerHolds)
	discover(macEPS2, dhcpv4.MessageTypeOffer)
	if _, got := x.ask(t, macEPS2, dhcpv4.MessageTypeRequest, name, server("192.168.2.2"), wants(addrEPS2)); got != dhcpv4.MessageTypeAck {
		t.Fatalf("answer %v", got)
	}
	x.holders[addrEPS2] = []string{macEPS2}
	discover(macOther, 0)
	x.now = x.now.Add(48 * time.Hour)
	discover(macOther, 0)
	discover(macEPS2, dhcpv4.MessageTypeOffer)
	// It was replaced by a machine with another MAC.
	x.holders[addrEPS2] = nil
	x.now = x.now.Add(offerHolds)
	discover(macOther, dhcpv4.MessageTypeOffer)
}

func TestDeskDecline(t *testing.T) {
	x := newDesktop(t)
	decline := func(from string) {
		t.Helper()
		if _, got := x.ask(t, from, dhcpv4.MessageTypeDecline, server("192.168.2.2"), wants(addrEPS1)); got != 0 {
			t.Errorf("answer %v", got)
		}
	}
	decline(macEPS1) // it was given nothing
	if x.counts[DHCPDeclined] != 0 {
		t.Error("declined what wasn't offered")
	}
	x.ask(t, macEPS1, dhcpv4.MessageTypeDiscover)
	decline(macEPS1)
	if x.counts[DHCPDeclined] != 1 || len(x.told) != 1 {
		t.Errorf("counted %v, told %q", x.counts, x.told)
	}
	if _, got := x.ask(t, macEPS1, dhcpv4.MessageTypeDiscover); got != 0 {
		t.Error("offered at once again")
	}
	x.now = x.now.Add(declineHolds)
	if _, got := x.ask(t, macEPS1, dhcpv4.MessageTypeDiscover); got != dhcpv4.MessageTypeOffer {
		t.Error("never offered again")
	}
}

// A probe that fails gives nothing away, and a request right after the offer needs none.
func TestDeskProbes(t *testing.T) {
	x := newDesktop(t)
	x.ask(t, macEPS1, dhcpv4.MessageTypeDiscover)
	x.ask(t, macEPS1, dhcpv4.MessageTypeRequest, server("192.168.2.2"), wants(addrEPS1))
	if x.probes != 1 || x.counts[DHCPAcknowledged] != 1 {
		t.Errorf("%d probes, counted %v", x.probes, x.counts)
	}
	x.now, x.fails = x.now.Add(probeHolds), errors.New("no such device")
	if _, got := x.ask(t, macEPS1, dhcpv4.MessageTypeRequest, has4(addrEPS1)); got != 0 || x.counts[DHCPFailed] != 1 {
		t.Errorf("answer %v, counted %v", got, x.counts)
	}
}

func TestNoDHCP(t *testing.T) {
	for name, c := range map[string]struct {
		edit []string
		want string
	}{
		"switched off": {[]string{"station:", "delivery: {dhcp: false}\nstation:"}, "delivery.dhcp is false"},
		"no network":   {[]string{"  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254}\n", ""}, "networks.server.cidr isn't given"},
		"IPv6 alone":   {[]string{"192.168.2.0/24", `"fd00:2::/64"`, "192.168.2.", `"fd00:2::`, "cidr: 192.168.1.0/24, gateway: 192.168.1.1", "gateway: 192.168.1.1"}, "the server network has no IPv4"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.NewReplacer(c.edit...).Replace((&station{name: "shop"}).yaml())
			if name == "IPv6 alone" {
				// Close the quotes that the addresses got.
				for _, n := range []string{"254", "5", "2", "3", "11", "12"} {
					text = strings.NewReplacer(`"fd00:2::`+n+"}", `"fd00:2::`+n+`"}`, `"fd00:2::`+n+",", `"fd00:2::`+n+`",`).Replace(text)
				}
			}
			cl, err := cluster.Parse("cluster.yaml", []byte(text))
			check(t, err)
			if why := noDHCP(cl, cl.Director("eds1")); !strings.HasPrefix(why, c.want) {
				t.Errorf("%q, want %q", why, c.want)
			}
		})
	}
}
