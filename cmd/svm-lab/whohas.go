package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/svm-cluster/svm/bench/netlab"
)

// askTimes and askPause are how often a question is put and how long answers to
// it are waited for: that somebody does not answer takes some time to see. Where
// an answer is expected, the questions go on until one has come or askMost were
// put, as on a busy machine it may be late.
const (
	askTimes = 3
	askMost  = 30
	askPause = 100 * time.Millisecond
)

// whoHas asks the wire at the node's device for the owner of an address, by ARP
// or neighbour solicitation, and returns the hardware addresses that answered.
func whoHas(ctx context.Context, n *netlab.Node, dev string, from, target netip.Addr, expected bool) ([]string, error) {
	mac := n.MAC(dev)
	question, answer := arpRequest(mac, from, target), arpAnswer
	if target.Is6() {
		question, answer = solicitation(mac, from, target), advertisement
	}
	c := n.Capture(dev)
	defer c.Stop()
	owners := map[string]bool{}
	for i := 0; i < askTimes || expected && len(owners) == 0 && i < askMost; i++ {
		if err := n.Send(dev, question); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(askPause):
		}
		for _, f := range c.Frames() {
			if owner := answer(f.Data, target); owner != nil && !f.Outgoing {
				owners[owner.String()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(owners)), nil
}

const (
	typeARP  = 0x0806
	typeIPv6 = 0x86dd

	arpOpReply = 2
	icmpNS     = 135 // RFC 4861 section 4.3
	icmpNA     = 136 // RFC 4861 section 4.4
)

// arpRequest is a broadcast request, RFC 826.
func arpRequest(mac net.HardwareAddr, from, target netip.Addr) []byte {
	f := bytes.Repeat([]byte{0xff}, 6)
	f = append(f, mac...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1)
	f = append(f, mac...)
	f = append(f, from.AsSlice()...)
	f = append(f, make([]byte, 6)...)
	return append(f, target.AsSlice()...)
}

// arpAnswer returns the hardware address in a reply about target, or nil.
func arpAnswer(f []byte, target netip.Addr) net.HardwareAddr {
	if len(f) < 42 || binary.BigEndian.Uint16(f[12:]) != typeARP || binary.BigEndian.Uint16(f[20:]) != arpOpReply {
		return nil
	}
	if !bytes.Equal(f[28:32], target.AsSlice()) {
		return nil
	}
	return net.HardwareAddr(f[22:28])
}

// solicitation is a neighbour solicitation to the target's multicast group.
func solicitation(mac net.HardwareAddr, from, target netip.Addr) []byte {
	t := target.As16()
	group := [16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]}
	icmp := append([]byte{icmpNS, 0, 0, 0, 0, 0, 0, 0}, t[:]...)
	icmp = append(icmp, 1, 1) // option: source link-layer address
	icmp = append(icmp, mac...)
	ip := []byte{0x60, 0, 0, 0, 0, byte(len(icmp)), 58, 255}
	ip = append(ip, from.AsSlice()...)
	ip = append(ip, group[:]...)
	pseudo := append(bytes.Clone(ip[8:]), 0, 0, 0, byte(len(icmp)), 0, 0, 0, 58)
	binary.BigEndian.PutUint16(icmp[2:], ^sum(append(pseudo, icmp...)))
	f := append([]byte{0x33, 0x33}, group[12:]...)
	f = append(f, mac...)
	f = append(f, 0x86, 0xdd)
	return append(append(f, ip...), icmp...)
}

// advertisement returns the hardware address in a neighbour advertisement about
// target, or nil.
func advertisement(f []byte, target netip.Addr) net.HardwareAddr {
	const icmp = 14 + 40
	if len(f) < icmp+24 || binary.BigEndian.Uint16(f[12:]) != typeIPv6 || f[20] != 58 || f[icmp] != icmpNA {
		return nil
	}
	if !bytes.Equal(f[icmp+8:icmp+24], target.AsSlice()) {
		return nil
	}
	if o := f[icmp+24:]; len(o) >= 8 && o[0] == 2 && o[1] == 1 {
		return net.HardwareAddr(o[2:8])
	}
	return net.HardwareAddr(f[6:12])
}

// sum is the ones' complement sum of RFC 1071; b has an even length.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
