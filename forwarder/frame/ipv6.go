package frame

// IPv6 next-header numbers (RFC 8200 section 4, RFC 4302).
const (
	nextHopByHop = 0
	nextRouting  = 43
	nextFragment = 44
	nextAuth     = 51
	nextDestOpts = 60
)

// maxExtensions bounds the walk through extension headers. RFC 8200 lists each
// kind once and destination options twice.
const maxExtensions = 8

// parse6 reads an IPv6 packet (RFC 8200). len(eth) >= EthLen+20.
func parse6(eth []byte, p *Packet) Fault {
	if len(eth) < EthLen+40 {
		return FaultShort
	}
	ip := eth[EthLen:]
	if ip[0]>>4 != 6 {
		return FaultIPHeader
	}
	p.V6 = true
	p.First = false
	p.End = EthLen + 40 + int(be16(ip[4:]))
	if p.End > len(eth) {
		return FaultIPLength
	}
	p.Key.SrcHi = be64(ip[8:])
	p.Key.SrcLo = be64(ip[16:])
	p.Key.DstHi = be64(ip[24:])
	p.Key.DstLo = be64(ip[32:])
	// Such a packet would have the key of an IPv4 connection (RFC 4942 section 2.2).
	if isMapped(p.Key.DstHi, p.Key.DstLo) || isMapped(p.Key.SrcHi, p.Key.SrcLo) {
		return FaultMapped
	}
	p.L4 = EthLen + 40
	next := ip[6]
	if next == ProtoTCP || next == ProtoUDP {
		return parseL4(eth[p.L4:p.End], p, next)
	}
	return p.walk(eth, next)
}

// walk passes the extension headers, notes a fragment, and parses what follows.
func (p *Packet) walk(eth []byte, next uint8) Fault {
	w := walker{at: p.L4, end: p.End, next: next}
	if f := w.run(eth); f != OK {
		return f
	}
	p.L4 = w.at
	if w.fragmented {
		if w.offset != 0 {
			return parseLater(p, w.id, 0)
		}
		// An atomic fragment (offset 0, no more to come) is a whole packet (RFC 6946).
		p.First, p.FragID = w.more, w.id
	}
	return parseL4(eth[p.L4:p.End], p, w.next)
}

// walker moves along a chain of extension headers.
type walker struct {
	at, end    int
	next       uint8
	fragmented bool
	more       bool
	offset     uint16
	id         uint32
}

// run stops at the first header that is no extension, or right behind the header
// of a fragment that is not the first: what follows there is payload.
func (w *walker) run(b []byte) Fault {
	for n := 0; ; n++ {
		size := 0
		switch w.next {
		case nextHopByHop, nextRouting, nextDestOpts, nextAuth, nextFragment:
			if w.at+8 > w.end {
				return FaultExtension
			}
			size = 8 + int(b[w.at+1])*8
		default:
			return OK
		}
		if n == maxExtensions || (w.next == nextHopByHop && n > 0) {
			return FaultExtension
		}
		switch w.next {
		case nextRouting:
			if b[w.at+3] != 0 {
				return FaultRouting
			}
		case nextAuth:
			size = 8 + int(b[w.at+1])*4
		case nextFragment:
			if w.fragmented {
				return FaultExtension
			}
			size = 8
			w.fragmented = true
			field := be16(b[w.at+2:])
			w.offset, w.more = field>>3, field&1 != 0
			w.id = be32(b[w.at+4:])
		}
		if w.at+size > w.end {
			return FaultExtension
		}
		w.next = b[w.at]
		w.at += size
		if w.offset != 0 {
			return OK
		}
	}
}
