package frame

// ICMP types (RFC 792; RFC 4443).
const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpQuench       = 4
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12
	icmp6EchoRequest = 128
	icmp6EchoReply   = 129
)

// isError tells ICMP errors apart; redirects are none, a VIP doesn't route.
func isError(v6 bool, typ uint8) bool {
	if v6 {
		return typ >= 1 && typ <= 4
	}
	return typ == icmpUnreachable || typ == icmpQuench || typ == icmpTimeExceeded || typ == icmpParameter
}

// parseICMP reads an ICMP message to the VIP. v6 says which protocol number
// announced it; it must be that of the packet's family.
func parseICMP(l4 []byte, p *Packet, v6 bool) Fault {
	if v6 != p.V6 {
		return FaultProtocol
	}
	if len(l4) < 8 {
		return p.tooShort()
	}
	p.Flags = 0
	typ, code := l4[0], l4[1]
	switch {
	case isError(v6, typ):
		return p.quote(l4[8:])
	case code == 0 && (!v6 && typ == icmpEcho || v6 && typ == icmp6EchoRequest):
		p.Kind = Echo
		p.Key.Tail = Tail(0, 0, l4proto(v6), KeyFlow)
		return OK
	}
	return FaultICMPType
}

func l4proto(v6 bool) uint8 {
	if v6 {
		return ProtoICMPv6
	}
	return ProtoICMP
}

// quote takes the connection from the packet that an ICMP error quotes. That
// packet went from the VIP to the client, so the key is turned round.
func (p *Packet) quote(b []byte) Fault {
	var q Key
	var ports []byte
	var proto uint8
	if p.V6 {
		if len(b) < 40 || b[0]>>4 != 6 {
			return FaultICMPQuote
		}
		q.SrcHi, q.SrcLo = be64(b[24:]), be64(b[32:])
		q.DstHi, q.DstLo = be64(b[8:]), be64(b[16:])
		w := walker{at: 40, end: len(b), next: b[6]}
		if w.run(b) != OK || w.offset != 0 {
			return FaultICMPQuote
		}
		ports, proto = b[w.at:], w.next
	} else {
		if len(b) < 20 || b[0]>>4 != 4 {
			return FaultICMPQuote
		}
		ihl := int(b[0]&0xf) * 4
		if ihl < 20 || len(b) < ihl || be16(b[6:])&0x1fff != 0 {
			return FaultICMPQuote
		}
		q.SrcLo = mapped | uint64(be32(b[16:]))
		q.DstLo = mapped | uint64(be32(b[12:]))
		ports, proto = b[ihl:], b[9]
	}
	if (proto != ProtoTCP && proto != ProtoUDP) || len(ports) < 4 {
		return FaultICMPQuote
	}
	if q.DstHi != p.Key.DstHi || q.DstLo != p.Key.DstLo {
		return FaultICMPQuote // quotes a packet that the VIP never sent
	}
	q.Tail = Tail(be16(ports[2:]), be16(ports), proto, KeyFlow)
	p.Key = q
	p.Kind = Error
	return OK
}
