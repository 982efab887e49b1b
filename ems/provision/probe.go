package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// An address is asked for probes times, with probeGap between them and after the last:
// as in RFC 5227, section 2.1.1, but in 0.4 s instead of its 5 to 7 s, because a server
// network is one Ethernet, and a real server is to be back within seconds.
const (
	probes   = 3
	probeGap = 130 * time.Millisecond
	// probeMore is how long others are waited for after the first answer.
	probeMore = 30 * time.Millisecond
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// probe asks the device's network who has addr, and returns the MACs of those other
// than this machine. from is the sender's address in the questions: the zero Addr for
// a machine that has none yet. A probe of another machine for the same address counts
// as an answer then: two want it at once.
func probe(ctx context.Context, device string, from, addr netip.Addr) ([]net.HardwareAddr, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", device, err)
	}
	conn, err := packet.Listen(dev, packet.Datagram, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, fmt.Errorf("ARP on %s: %w (needs CAP_NET_RAW)", device, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	sender := from
	if !sender.IsValid() {
		sender = netip.IPv4Unspecified()
	}
	question, err := arp.NewPacket(arp.OperationRequest, dev.HardwareAddr, sender, make(net.HardwareAddr, 6), addr)
	if err != nil {
		return nil, fmt.Errorf("ARP on %s: %w", device, err)
	}
	raw, err := question.MarshalBinary()
	if err != nil {
		return nil, err
	}
	var found []net.HardwareAddr
	for range probes {
		if _, err := conn.WriteTo(raw, &packet.Addr{HardwareAddr: broadcast}); err != nil {
			return nil, fmt.Errorf("ARP on %s: %w", device, err)
		}
		if found, err = hear(ctx, conn, dev.HardwareAddr, addr, !from.IsValid()); err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, nil
}

// hear collects for one gap those who say that they have addr.
func hear(ctx context.Context, conn *packet.Conn, self net.HardwareAddr, addr netip.Addr, probesToo bool) (found []net.HardwareAddr, err error) {
	end := time.Now().Add(probeGap)
	buf := make([]byte, 256)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := conn.SetReadDeadline(end); err != nil {
			return nil, err
		}
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return found, ctx.Err()
		} else if err != nil {
			return nil, fmt.Errorf("ARP: %w", err)
		}
		if time.Now().After(end) {
			return found, nil // a flood must not hold the question up
		}
		var p arp.Packet
		if p.UnmarshalBinary(buf[:n]) != nil || len(p.SenderHardwareAddr) != 6 || bytes.Equal(p.SenderHardwareAddr, self) {
			continue
		}
		wanted := probesToo && p.Operation == arp.OperationRequest && p.SenderIP.IsUnspecified() && p.TargetIP == addr
		if p.SenderIP != addr && !wanted {
			continue
		}
		if !has(found, p.SenderHardwareAddr) && len(found) < 16 {
			found = append(found, bytes.Clone(p.SenderHardwareAddr))
		}
		if more := time.Now().Add(probeMore); more.Before(end) {
			end = more
		}
	}
}

func has(all []net.HardwareAddr, mac net.HardwareAddr) bool {
	for _, m := range all {
		if bytes.Equal(m, mac) {
			return true
		}
	}
	return false
}
