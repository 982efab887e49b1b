package frame

// Kind is what sort of packet a frame carries, as far as a director cares.
type Kind uint8

const (
	Segment  Kind = iota // TCP
	Datagram             // UDP
	Later                // a fragment that is not the first: Key is a KeyFragment
	Error                // ICMP or ICMPv6 error: Key is that of the connection it is about
	Echo                 // echo request to the VIP: only the addresses of Key are set
)

// TCP flags (RFC 9293 section 3.1).
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	ACK = 0x10
)

// Packet is what Parse found. It holds no pointer into the frame.
type Packet struct {
	Key    Key
	Kind   Kind
	Flags  uint8  // TCP flags; 0 otherwise
	First  bool   // first of several fragments; FragID names them
	V6     bool   // IPv6
	FragID uint32 // identification, for First
	L4     int    // offset of the TCP, UDP or ICMP header in the frame
	End    int    // offset of the end of the IP packet; what follows is padding
}

// Bytes returns the length of the IP packet.
func (p *Packet) Bytes() int { return p.End - EthLen }

// FragmentKey returns the key that the other fragments of a First packet carry.
func (p *Packet) FragmentKey() Key {
	k := p.Key
	proto := k.Proto()
	if p.V6 {
		proto = 0
	}
	k.Tail = FragmentTail(p.FragID, proto)
	return k
}

// Parse reads an Ethernet frame. On a Fault p holds nothing of use but, where the
// fault is above the IP header, the addresses in p.Key.
func Parse(eth []byte, p *Packet) Fault {
	if len(eth) >= commonLen && isCommon((*[commonLen]byte)(eth), len(eth)) {
		p.readCommon((*[commonLen]byte)(eth))
		return OK
	}
	return parse(eth, p)
}

// commonLen is how much of a frame isCommon and readCommon may look at.
const commonLen = EthLen + 40

// isCommon tells whether a frame is what nearly every one is: a whole TCP segment
// in IPv4 without options. n is the frame's length. Such a frame is read in half
// the time; parse reads everything else, and finds every fault.
func isCommon(eth *[commonLen]byte, n int) bool {
	total, header := int(be16(eth[16:])), int(eth[46]>>4)
	return be32(eth[12:])&^0xff == EtherIPv4<<16|0x4500 && be32(eth[20:])&0x3fff00ff == ProtoTCP &&
		eth[0]&1 == 0 && EthLen+total <= n && header >= 5 && 20+header*4 <= total
}

// readCommon is parse for a frame that isCommon, with the same result.
func (p *Packet) readCommon(eth *[commonLen]byte) {
	p.Key = Key{
		SrcLo: mapped | uint64(be32(eth[26:])), DstLo: mapped | uint64(be32(eth[30:])),
		Tail: uint64(be32(eth[34:]))<<32 | ProtoTCP<<24,
	}
	p.Kind, p.Flags, p.First, p.V6 = Segment, eth[47], false, false
	p.L4, p.End = EthLen+20, EthLen+int(be16(eth[16:]))
}

func parse(eth []byte, p *Packet) Fault {
	if len(eth) < EthLen+20 {
		return shortFault(eth)
	}
	if eth[0]&1 != 0 {
		return FaultNotUnicast
	}
	switch be16(eth[12:]) {
	case EtherIPv4:
		return parse4(eth, p)
	case EtherIPv6:
		return parse6(eth, p)
	}
	return etherFault(eth)
}

func shortFault(eth []byte) Fault {
	if len(eth) < EthLen {
		return FaultShort
	}
	if f := etherFault(eth); f != OK {
		return f
	}
	return FaultShort
}

func etherFault(eth []byte) Fault {
	switch be16(eth[12:]) {
	case EtherIPv4, EtherIPv6:
		return OK
	case EtherVLAN, EtherQinQ, EtherOldQinQ:
		return FaultVLAN
	}
	return FaultEtherType
}

// parse4 reads an IPv4 packet (RFC 791). len(eth) >= EthLen+20.
func parse4(eth []byte, p *Packet) Fault {
	ip := (*[20]byte)(eth[EthLen:])
	ihl := int(ip[0]&0xf) * 4
	if ip[0]>>4 != 4 || ihl < 20 {
		return FaultIPHeader
	}
	total := int(be16(ip[2:]))
	if total < ihl {
		return FaultIPHeader
	}
	end, at := EthLen+total, EthLen+ihl
	if end > len(eth) {
		return FaultIPLength
	}
	p.V6 = false
	p.First = false
	p.End = end
	p.L4 = at
	p.Key.SrcHi = 0
	p.Key.SrcLo = mapped | uint64(be32(ip[12:]))
	p.Key.DstHi = 0
	p.Key.DstLo = mapped | uint64(be32(ip[16:]))
	if frag := be16(ip[6:]); frag&0x3fff != 0 {
		id := uint32(be16(ip[4:]))
		if frag&0x1fff != 0 {
			return parseLater(p, id, ip[9])
		}
		p.First, p.FragID = true, id
	}
	return parseL4(eth[at:end], p, ip[9])
}

// parseLater makes the key of a fragment that is not the first: IPv4 tells packets
// apart by protocol and identification (RFC 791), IPv6 by identification alone
// (RFC 8200 section 4.5), for which proto is 0.
func parseLater(p *Packet, id uint32, proto uint8) Fault {
	p.Kind = Later
	p.Flags = 0
	p.Key.Tail = FragmentTail(id, proto)
	return OK
}

// parseL4 reads the transport header at the beginning of l4, which ends with the
// packet. All but Key.Tail, Kind and Flags is set.
func parseL4(l4 []byte, p *Packet, proto uint8) Fault {
	switch proto {
	case ProtoTCP:
		if len(l4) < 20 {
			return p.tooShort()
		}
		if off := int(l4[12]>>4) * 4; off < 20 || (off > len(l4) && !p.First) {
			return FaultTCPHeader
		}
		p.Kind = Segment
		p.Flags = l4[13]
	case ProtoUDP:
		if len(l4) < 8 {
			return p.tooShort()
		}
		p.Kind = Datagram
		p.Flags = 0
	case ProtoICMP:
		return parseICMP(l4, p, false)
	case ProtoICMPv6:
		return parseICMP(l4, p, true)
	default:
		return FaultProtocol
	}
	p.Key.Tail = uint64(be32(l4))<<32 | uint64(proto)<<24
	return OK
}

func (p *Packet) tooShort() Fault {
	if p.First {
		return FaultTinyFragment
	}
	return FaultShort
}
