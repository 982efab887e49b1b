package frame

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// slow is the obvious twin of Parse: gopacket takes the headers apart one by one.
// It reports what it is sure of: errNotOurs for what a director refuses on
// principle, errBroken for what gopacket refuses, else the packet.
var (
	errNotOurs = errors.New("not ours")
	errBroken  = errors.New("broken")
)

type feedback bool

func (f *feedback) SetTruncated() { *f = true }

func slow(eth []byte) (p Packet, err error) {
	var cut feedback
	var e layers.Ethernet
	if len(eth) < 14 {
		return p, errBroken
	}
	typ := binary.BigEndian.Uint16(eth[12:])
	if eth[0]&1 != 0 || (typ != 0x800 && typ != 0x86dd) {
		return p, errNotOurs
	}
	if e.DecodeFromBytes(eth, &cut) != nil {
		return p, errBroken
	}
	if typ == 0x800 {
		return slow4(e.Payload)
	}
	return slow6(e.Payload)
}

func slow4(b []byte) (p Packet, err error) {
	var cut feedback
	var ip layers.IPv4
	// gopacket takes length 0 for an offloaded super-frame.
	if ip.DecodeFromBytes(b, &cut) != nil || bool(cut) || ip.Version != 4 || b[2] == 0 && b[3] == 0 {
		return p, errBroken
	}
	src, dst := addr(ip.SrcIP), addr(ip.DstIP)
	p.End = 14 + int(ip.Length)
	p.L4 = 14 + int(ip.IHL)*4
	if ip.FragOffset != 0 {
		p.Kind = Later
		p.Key = MakeKey(netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0), 0)
		p.Key.Tail = FragmentTail(uint32(ip.Id), uint8(ip.Protocol))
		return p, nil
	}
	if ip.Flags&layers.IPv4MoreFragments != 0 {
		p.First, p.FragID = true, uint32(ip.Id)
	}
	return slowL4(p, src, dst, uint8(ip.Protocol), ip.Payload)
}

func slow6(b []byte) (p Packet, err error) {
	p.V6 = true
	var cut feedback
	var ip layers.IPv6
	if len(b) < 40 || b[0]>>4 != 6 {
		return p, errBroken
	}
	payload := int(binary.BigEndian.Uint16(b[4:]))
	// gopacket wants a jumbogram for length 0; headers alone are of no use to us.
	if payload == 0 || ip.DecodeFromBytes(b, &cut) != nil || bool(cut) {
		return p, errBroken
	}
	src, dst := addr16(b[8:24]), addr16(b[24:40])
	if src.Is4In6() || dst.Is4In6() {
		return p, errNotOurs
	}
	p.End = 14 + 40 + payload
	p.L4 = 14 + 40
	rest, next, frag, err := slowExtensions(b[40:40+payload], b[6])
	if err != nil {
		return p, err
	}
	p.L4 = p.End - len(rest)
	if frag != nil {
		if frag.FragmentOffset != 0 {
			p.Kind = Later
			p.Key = MakeKey(netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0), 0)
			p.Key.Tail = FragmentTail(frag.Identification, 0)
			return p, nil
		}
		p.First, p.FragID = frag.MoreFragments, frag.Identification
	}
	return slowL4(p, src, dst, next, rest)
}

// slowExtensions takes the extension headers off.
func slowExtensions(b []byte, next byte) ([]byte, byte, *layers.IPv6Fragment, error) {
	var frag *layers.IPv6Fragment
	for n := 0; ; n++ {
		var typ gopacket.LayerType
		switch next {
		case 0:
			typ = layers.LayerTypeIPv6HopByHop
			if n > 0 {
				return nil, 0, nil, errNotOurs
			}
		case 43:
			typ = layers.LayerTypeIPv6Routing
		case 44:
			typ = layers.LayerTypeIPv6Fragment
		case 51:
			typ = layers.LayerTypeIPSecAH
		case 60:
			typ = layers.LayerTypeIPv6Destination
		default:
			return b, next, frag, nil
		}
		if n == 8 {
			return nil, 0, nil, errNotOurs
		}
		if len(b) < 8 {
			return nil, 0, nil, errBroken
		}
		pkt := gopacket.NewPacket(b, typ, gopacket.Lazy)
		l := pkt.Layer(typ)
		if l == nil {
			return nil, 0, nil, errBroken
		}
		switch l := l.(type) {
		case *layers.IPv6Routing:
			if l.SegmentsLeft != 0 {
				return nil, 0, nil, errNotOurs
			}
		case *layers.IPv6Fragment:
			if frag != nil {
				return nil, 0, nil, errNotOurs
			}
			frag = l
		}
		next, b = b[0], l.LayerPayload()
		if frag != nil && frag.FragmentOffset != 0 {
			return b, next, frag, nil
		}
	}
}

func slowL4(p Packet, src, dst netip.Addr, proto uint8, b []byte) (Packet, error) {
	var cut feedback
	flow := func(sp, dp uint16) {
		p.Key = MakeKey(netip.AddrPortFrom(src, sp), netip.AddrPortFrom(dst, dp), proto)
	}
	switch {
	case proto == 6:
		var l layers.TCP
		if l.DecodeFromBytes(b, &cut) != nil || bool(cut) {
			return p, errBroken
		}
		p.Kind, p.Flags = Segment, b[13]
		flow(uint16(l.SrcPort), uint16(l.DstPort))
	case proto == 17:
		var l layers.UDP
		if len(b) < 8 || l.DecodeFromBytes(b, &cut) != nil {
			return p, errBroken
		}
		p.Kind = Datagram
		flow(uint16(l.SrcPort), uint16(l.DstPort))
	case proto == 1 && !p.V6:
		var l layers.ICMPv4
		if l.DecodeFromBytes(b, &cut) != nil {
			return p, errBroken
		}
		switch {
		case l.TypeCode == layers.CreateICMPv4TypeCode(8, 0):
			p.Kind = Echo
			flow(0, 0)
		case l.TypeCode.Type() == 3 || l.TypeCode.Type() == 4 || l.TypeCode.Type() == 11 || l.TypeCode.Type() == 12:
			return slowQuote(p, dst, l.Payload)
		default:
			return p, errNotOurs
		}
	case proto == 58 && p.V6:
		var l layers.ICMPv6
		if len(b) < 8 || l.DecodeFromBytes(b, &cut) != nil {
			return p, errBroken
		}
		switch {
		case l.TypeCode == layers.CreateICMPv6TypeCode(128, 0):
			p.Kind = Echo
			flow(0, 0)
		case l.TypeCode.Type() >= 1 && l.TypeCode.Type() <= 4:
			return slowQuote(p, dst, l.Payload[4:])
		default:
			return p, errNotOurs
		}
	default:
		return p, errNotOurs
	}
	return p, nil
}

// slowQuote reads a quoted packet, which may be cut short anywhere behind the
// ports, so gopacket gets it filled up with zeros.
func slowQuote(p Packet, vip netip.Addr, b []byte) (Packet, error) {
	var cut feedback
	var from, to netip.Addr
	var proto uint8
	var ports []byte
	if !p.V6 {
		var ip layers.IPv4
		if len(b) < 20 || b[0]>>4 != 4 {
			return p, errBroken
		}
		if ip.DecodeFromBytes(b, &cut) != nil {
			return p, errBroken
		}
		if ip.FragOffset != 0 {
			return p, errNotOurs
		}
		from, to, proto = addr(ip.SrcIP), addr(ip.DstIP), uint8(ip.Protocol)
		ports = b[int(ip.IHL)*4:]
	} else {
		if len(b) < 40 || b[0]>>4 != 6 {
			return p, errBroken
		}
		from, to = addr16(b[8:24]), addr16(b[24:40])
		rest, next, frag, err := slowExtensions(b[40:], b[6])
		if err != nil {
			return p, err
		}
		if frag != nil && frag.FragmentOffset != 0 {
			return p, errNotOurs
		}
		proto, ports = next, rest
	}
	if (proto != 6 && proto != 17) || len(ports) < 4 || from != vip {
		return p, errNotOurs
	}
	p.Kind = Error
	p.Key = MakeKey(
		netip.AddrPortFrom(to, binary.BigEndian.Uint16(ports[2:])),
		netip.AddrPortFrom(from, binary.BigEndian.Uint16(ports)), proto)
	return p, nil
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}

func addr16(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }
