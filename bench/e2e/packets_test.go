package e2e

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/svm-cluster/svm/bench/farm"
)

// maker makes frames by hand, from a client to a VIP, as they leave router1.
type maker struct {
	t        *testing.T
	fam      farm.Family
	src, dst net.IP
	eth      layers.Ethernet
	id       uint16
}

func (r *rig) maker(t *testing.T, fam farm.Family, vip int) *maker {
	t.Helper()
	m := &maker{t: t, fam: fam,
		src: net.ParseIP(farm.Internet().Addr(fam, farm.ClientHost)), dst: net.ParseIP(r.MoreVIP(fam, vip)),
		eth: layers.Ethernet{SrcMAC: r.Router1.MAC("eth1"), DstMAC: r.director.MAC("eth0"), EthernetType: layers.EthernetTypeIPv4},
	}
	if fam == 6 {
		m.eth.EthernetType = layers.EthernetTypeIPv6
	}
	return m
}

func (m *maker) ip4(p layers.IPProtocol) *layers.IPv4 {
	m.id++
	return &layers.IPv4{Version: 4, TTL: 61, Id: m.id, Protocol: p, SrcIP: m.src, DstIP: m.dst}
}

func (m *maker) ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 61, NextHeader: next, SrcIP: m.src, DstIP: m.dst}
}

// ip is a plain header of the family.
func (m *maker) ip(p layers.IPProtocol) gopacket.SerializableLayer {
	if m.fam == 4 {
		return m.ip4(p)
	}
	return m.ip6(p)
}

// frame joins layers below the Ethernet header, with lengths and checksums.
func (m *maker) frame(list ...gopacket.SerializableLayer) []byte {
	m.t.Helper()
	var network gopacket.NetworkLayer
	for _, l := range list {
		switch l := l.(type) {
		case *layers.IPv4:
			if network == nil {
				network = l
			}
		case *layers.IPv6:
			if network == nil {
				network = l
			}
		case interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}:
			if err := l.SetNetworkLayerForChecksum(network); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	buf := gopacket.NewSerializeBuffer()
	all := append([]gopacket.SerializableLayer{&m.eth}, list...)
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		m.t.Fatal(err)
	}
	return buf.Bytes()
}

// fragments4 cuts the payload of a frame with an IPv4 header of 20 bytes into
// pieces; size is a multiple of 8.
func fragments4(frame []byte, size int) (out [][]byte) {
	const eth, ip = 14, 20
	body := frame[eth+ip:]
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		f := append(append([]byte{}, frame[:eth+ip]...), body[at:end]...)
		h := f[eth : eth+ip]
		word := uint16(at / 8)
		if end < len(body) {
			word |= 1 << 13
		}
		binary.BigEndian.PutUint16(h[2:], uint16(ip+end-at))
		binary.BigEndian.PutUint16(h[6:], word)
		h[10], h[11] = 0, 0
		binary.BigEndian.PutUint16(h[10:], checksum(h))
		out = append(out, f)
	}
	return out
}

// fragments6 does the same with an IPv6 header without extension headers.
func fragments6(frame []byte, size int, id uint32) (out [][]byte) {
	const eth, ip = 14, 40
	body := frame[eth+ip:]
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		f := append([]byte{}, frame[:eth+ip]...)
		h := f[eth:]
		binary.BigEndian.PutUint16(h[4:], uint16(8+end-at))
		next := h[6]
		h[6] = 44
		word := uint16(at)
		if end < len(body) {
			word |= 1
		}
		f = append(f, next, 0)
		f = binary.BigEndian.AppendUint16(f, word)
		f = binary.BigEndian.AppendUint32(f, id)
		out = append(out, append(f, body[at:end]...))
	}
	return out
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
