package ha

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	src4, src6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")
	adv4       = Advert{VRID: 51, Priority: 200, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")}}
	adv6       = Advert{VRID: 51, Priority: 200, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr("fe80::100"), netip.MustParseAddr("2001:db8::100")}}
)

// Checksums worked out by hand: the words of the packet are 3133 c801 0064 c000
// 0264 and, with the pseudo-header, those of c0000201 e0000012 0070 000c.
func TestBytes(t *testing.T) {
	for _, tt := range []struct {
		form Checksum
		want string
	}{
		{ChecksumPlain, "3133c80100644402c0000264"},
		{ChecksumPseudoHeader, "3133c8010064a171c0000264"},
	} {
		got := adv4.Append(nil, src4, Group4(), tt.form)
		if hex.EncodeToString(got) != tt.want {
			t.Errorf("form %d: %x, want %s", tt.form, got, tt.want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.2")
	for _, tt := range []struct {
		a        Advert
		src, dst netip.Addr
	}{
		{adv4, src4, Group4()}, {adv4, src4, peer}, {adv6, src6, Group6()},
		{Advert{VRID: 1, Priority: 0, Interval: Centisecond, Addrs: adv4.Addrs}, src4, Group4()},
		{Advert{VRID: 255, Priority: 255, Interval: MaxInterval, Addrs: adv4.Addrs}, src4, Group4()},
	} {
		for _, form := range []Checksum{ChecksumPseudoHeader, ChecksumPlain, ChecksumGroup} {
			got, why := parsePlain(tt.a.Append(nil, tt.src, tt.dst, form), tt.src, tt.dst)
			if why != OK || got.String() != tt.a.String() {
				t.Errorf("form %d: %v %v, want %v", form, got, why, tt.a)
			}
		}
	}
	// keepalived's old_unicast_checksum: the group in the pseudo-header of a unicast packet.
	if _, why := parsePlain(adv4.Append(nil, src4, Group4(), ChecksumPseudoHeader), src4, peer); why != OK {
		t.Errorf("old unicast checksum: %v", why)
	}
	if _, why := parsePlain(adv6.Append(nil, src6, Group6(), ChecksumPseudoHeader), src6, src6); why != BadChecksum {
		t.Errorf("IPv6 checksum for another destination: %v", why)
	}
}

func TestRefused(t *testing.T) {
	edit := func(f func(b []byte) []byte) []byte {
		b := f(adv4.Append(nil, src4, Group4(), ChecksumPlain))
		if len(b) >= headerLen {
			finish(b, src4, Group4(), ChecksumPseudoHeader)
		}
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want Reason
	}{
		{"empty", nil, Truncated},
		{"seven bytes", edit(func(b []byte) []byte { return b[:7] }), Truncated},
		{"short list", edit(func(b []byte) []byte { return b[:11] }), Truncated},
		{"long list", edit(func(b []byte) []byte { return append(b, 0) }), TrailingBytes},
		{"count beyond the packet", edit(func(b []byte) []byte { b[3] = 255; return b }), Truncated},
		{"no address", edit(func(b []byte) []byte { b[3] = 0; return b[:8] }), BadCount},
		{"version 2", edit(func(b []byte) []byte { b[0] = 0x21; return b }), BadVersion},
		{"version 4", edit(func(b []byte) []byte { b[0] = 0x41; return b }), BadVersion},
		{"type 0", edit(func(b []byte) []byte { b[0] = 0x30; return b }), BadType},
		{"a hello without a key", edit(func(b []byte) []byte { b[0], b[3] = 0x32, 0; return b[:8] }), BadType},
		{"interval 0", edit(func(b []byte) []byte { b[4], b[5] = 0xf0, 0; return b }), BadInterval},
		{"one bit", func() []byte { b := edit(func(b []byte) []byte { return b }); b[9] ^= 1; return b }(), BadChecksum},
		{"reserved bits are ignored", edit(func(b []byte) []byte { b[4] |= 0xf0; return b }), OK},
	} {
		if _, why := parsePlain(tt.b, src4, Group4()); why != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, why, tt.want)
		}
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range reasons {
		if n := r.String(); n == "" || seen[n] {
			t.Errorf("reason %d has the name %q", r, n)
		} else {
			seen[n] = true
		}
	}
	var c Counters
	c.Add(Replayed)
	if got := c.Snapshot(); len(got) != 1 || got["replayed"] != 1 {
		t.Error(got)
	}
	if !strings.HasPrefix(reasons.String(), "reason-") {
		t.Error(reasons.String())
	}
}

// What parses is written back as the same bytes, up to reserved bits and the
// checksum's form.
func FuzzParse(f *testing.F) {
	f.Add(adv4.Append(nil, src4, Group4(), ChecksumPlain), false)
	f.Add(adv4.Append(nil, src4, Group4(), ChecksumPseudoHeader), false)
	f.Add(adv6.Append(nil, src6, Group6(), ChecksumPseudoHeader), true)
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		src, dst := src4, Group4()
		if v6 {
			src, dst = src6, Group6()
		}
		if len(b) >= headerLen {
			finish(b, src, dst, ChecksumPseudoHeader) // or nearly nothing passes
		}
		a, rest, why := Parse(b, src, dst)
		if why != OK && why != Hello {
			return
		}
		again := a.appendBody(nil)
		want := bytes.Clone(b[:len(b)-len(rest)])
		want[4], want[6], want[7] = want[4]&0x0f, 0, 0
		if !bytes.Equal(again, want) {
			t.Errorf("%x was read as %v, which is %x", b, a, again)
		}
	})
}
