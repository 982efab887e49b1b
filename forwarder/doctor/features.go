package doctor

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// Numbers of the kernel's ethtool netlink interface
// (Documentation/networking/ethtool-netlink.rst).
const (
	featuresGet    = 11 // ETHTOOL_MSG_FEATURES_GET
	featuresHeader = 1  // ETHTOOL_A_FEATURES_HEADER
	headerDevName  = 2  // ETHTOOL_A_HEADER_DEV_NAME
	featuresActive = 4  // ETHTOOL_A_FEATURES_ACTIVE
	bitsetBits     = 3  // ETHTOOL_A_BITSET_BITS
	bitName        = 2  // ETHTOOL_A_BITSET_BIT_NAME
)

// features lists the offloads that are on, as ethtool -k names them in the kernel:
// rx-lro, rx-gro ...
func features(device string) ([]string, error) {
	family, err := netlink.GenlFamilyGet("ethtool")
	if err != nil {
		return nil, fmt.Errorf("the kernel has no ethtool netlink interface (Linux 5.6): %w", err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(&nl.Genlmsg{Command: featuresGet, Version: 1})
	header := nl.NewRtAttr(featuresHeader|syscall.NLA_F_NESTED, nil)
	header.AddRtAttr(headerDevName, nl.ZeroTerminated(device))
	req.AddData(header)
	messages, err := req.Execute(syscall.NETLINK_GENERIC, 0)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if len(m) < nl.SizeofGenlmsg {
			continue
		}
		for active := range nested(m[nl.SizeofGenlmsg:], featuresActive) {
			return activeNames(active), nil
		}
	}
	return nil, errors.New("the kernel's answer has no active features")
}

// activeNames reads a bitset without a mask: it lists the bits that are set.
func activeNames(bitset []byte) (names []string) {
	for bits := range nested(bitset, bitsetBits) {
		for bit := range nested(bits, 1) { // ETHTOOL_A_BITSET_BITS_BIT
			for name := range nested(bit, bitName) {
				names = append(names, strings.TrimRight(string(name), "\x00"))
			}
		}
	}
	return names
}

// nested yields the contents of the attributes of one type.
func nested(raw []byte, kind uint16) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		attrs, err := nl.ParseRouteAttr(raw)
		if err != nil {
			return
		}
		for _, a := range attrs {
			if a.Attr.Type&nl.NLA_TYPE_MASK == kind && !yield(a.Value) {
				return
			}
		}
	}
}
