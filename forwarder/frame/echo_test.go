package frame

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var director = MAC{2, 0, 0, 0, 0, 9}

// echo4 and echo6 return requests from the client to the VIP.
func echo4(t testing.TB, payload []byte, change ...func(*layers.IPv4)) []byte {
	ip := ip4(layers.IPProtocolICMPv4)
	for _, f := range change {
		f(ip)
	}
	return serialize(t, ether(layers.EthernetTypeIPv4), ip,
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 9}, gopacket.Payload(payload))
}

func echo6(t testing.TB, payload []byte) []byte {
	ip := ip6(layers.IPProtocolICMPv6)
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
	_ = l.SetNetworkLayerForChecksum(ip)
	return serialize(t, ether(layers.EthernetTypeIPv6), ip, l, gopacket.Payload(append([]byte{0, 7, 0, 9}, payload...)))
}

func TestParseEcho(t *testing.T) {
	k4, k6 := flowKey(client4, 0, vip4, 0, ProtoICMP), flowKey(client6, 0, vip6, 0, ProtoICMPv6)
	first := func(ip *layers.IPv4) { ip.Flags = layers.IPv4MoreFragments }
	later := func(ip *layers.IPv4) { ip.FragOffset = 9 }
	tiny := echo4(t, nil, first)
	tiny[17] = 27
	checkParse(t, []parseCase{
		{"IPv4", echo4(t, []byte("ping")), OK, Packet{Key: k4, Kind: Echo}},
		{"IPv4 code", with(echo4(t, nil), 35, 1), FaultICMPType, Packet{}},
		{"IPv4 reply", with(echo4(t, nil), 34, 0), FaultICMPType, Packet{}},
		{"IPv4 first fragment", echo4(t, nil, first), OK, Packet{Key: k4, Kind: Echo, First: true, FragID: 0x1234}},
		{"IPv4 later fragment", echo4(t, nil, later), OK, Packet{Key: fragmentKey(client4, vip4, 0x1234, ProtoICMP), Kind: Later}},
		{"IPv4 tiny fragment", tiny, FaultTinyFragment, Packet{}},
		{"IPv4 short", with(echo4(t, nil), 17, 27), FaultShort, Packet{}},
		{"IPv6", echo6(t, []byte("ping")), OK, Packet{Key: k6, Kind: Echo, V6: true}},
		{"IPv6 code", with(echo6(t, nil), 55, 1), FaultICMPType, Packet{}},
		{"IPv6 reply", with(echo6(t, nil), 54, 129), FaultICMPType, Packet{}},
		{"IPv6 first fragment", extended(echo6(t, nil), fragment(0, true, 5)), OK, Packet{Key: k6, Kind: Echo, V6: true, First: true, FragID: 5}},
		{"IPv6 neighbour solicitation", icmp6(t, 135, 0, make([]byte, 24)), FaultICMPType, Packet{}},
	})
}

// checkEcho verifies a reply with gopacket: addresses turned round, payload kept,
// and serializing it anew gives the same bytes, so every checksum is right.
func checkEcho(t *testing.T, request []byte) {
	t.Helper()
	eth := append([]byte(nil), request...)
	var p Packet
	if f := Parse(eth, &p); f != OK || p.Kind != Echo {
		t.Fatalf("fault %v, kind %v", f, p.Kind)
	}
	EchoReply(eth, &p, director)
	if !bytes.Equal(eth[:6], request[6:12]) || !bytes.Equal(eth[6:12], director[:]) {
		t.Errorf("Ethernet addresses %x", eth[:12])
	}
	if !bytes.Equal(eth[p.End:], request[p.End:]) {
		t.Error("padding changed")
	}
	if !bytes.Equal(eth[p.L4+4:p.End], request[p.L4+4:p.End]) {
		t.Error("identifier, sequence or payload changed")
	}
	pkt := gopacket.NewPacket(eth[:p.End], layers.LayerTypeEthernet, gopacket.Default)
	if e := pkt.ErrorLayer(); e != nil {
		t.Fatal(e.Error())
	}
	if l, ok := pkt.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		if l.SrcIP.String() != p.Key.Dst().String() || l.DstIP.String() != p.Key.Src().String() || l.TTL != ReplyTTL {
			t.Errorf("IPv4 header %+v", l)
		}
		icmp := pkt.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if icmp.TypeCode != layers.CreateICMPv4TypeCode(0, 0) {
			t.Errorf("type %v", icmp.TypeCode)
		}
		if again := serialize(t, l, icmp, gopacket.Payload(icmp.Payload)); !bytes.Equal(again, eth[EthLen:p.End]) {
			t.Errorf("checksums:\n got %x\nwant %x", eth[EthLen:p.End], again)
		}
		return
	}
	l := pkt.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	if l.SrcIP.String() != p.Key.Dst().String() || l.DstIP.String() != p.Key.Src().String() || l.HopLimit != ReplyTTL {
		t.Errorf("IPv6 header %+v", l)
	}
	icmp := &layers.ICMPv6{}
	if err := icmp.DecodeFromBytes(eth[p.L4:p.End], gopacket.NilDecodeFeedback); err != nil {
		t.Fatal(err)
	}
	if icmp.TypeCode != layers.CreateICMPv6TypeCode(129, 0) {
		t.Errorf("type %v", icmp.TypeCode)
	}
	_ = icmp.SetNetworkLayerForChecksum(l)
	if again := serialize(t, icmp, gopacket.Payload(icmp.Payload)); !bytes.Equal(again, eth[p.L4:p.End]) {
		t.Errorf("checksum:\n got %x\nwant %x", eth[p.L4:p.End], again)
	}
}

func TestEchoReply(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		payload := make([]byte, n*n%1473)
		for i := range payload {
			payload[i] = byte(rng.Uint32())
		}
		if n%3 == 0 { // sums at the edge of folding
			for i := range payload {
				payload[i] = 0xff
			}
		}
		checkEcho(t, echo4(t, payload))
		checkEcho(t, echo6(t, payload))
	}
	big := bytes.Repeat([]byte{0xff}, 65000)
	checkEcho(t, echo4(t, big))
	checkEcho(t, echo6(t, big))
	checkEcho(t, extended(echo6(t, []byte("x")), options(nextHopByHop, 0), options(nextDestOpts, 2)))
	checkEcho(t, extended(echo6(t, []byte("x")), fragment(0, false, 77)))
	checkEcho(t, echo4(t, []byte("record route"), func(ip *layers.IPv4) {
		ip.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 11, OptionData: []byte{4, 0, 0, 0, 0, 0, 0, 0, 0}}, {OptionType: 0}}
	}))
}
