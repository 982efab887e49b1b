package neigh

// Reason says what became of one received frame, or of one that was to be sent.
type Reason uint8

// Reasons. The first group is normal, the second one is worth a look, the third
// is malformed input.
const (
	Answered   Reason = iota // an answer to a question for an active VIP, made
	Learned                  // a message of a real server, used
	Irrelevant               // correct, but about neither a VIP nor a real server
	Inactive                 // a question for a VIP while this director is not the active one
	OtherSide                // a question for a VIP on another than the client device
	Own                      // sent by ourselves
	OtherHost                // its Ethernet destination is another host
	Announced                // an announcement frame, made
	Asked                    // a question for a real server, made

	Limited    // a question for a VIP, not answered: too many of them
	Conflict   // another host claims a VIP
	Refused    // another MAC address for a known real server, refused
	NoSource   // a question for a real server not sent: no address to ask from
	SendFailed // a frame that the device did not take
	ReadFailed // an error of a receiving socket
	Overrun    // lost by the kernel because the socket's buffer was full

	Tagged      // a VLAN tag
	Short       // shorter than its headers say
	NotNeighbor // neither ARP nor a neighbour solicitation or advertisement
	BadARP      // hardware or protocol type, address lengths or operation
	BadMAC      // a sender's MAC address that is zero or multicast
	BadSender   // a sender's IP address that is no host's, or does not fit the message
	BadTarget   // a multicast target address, or a destination that does not fit the message
	BadIPv6     // version or payload length
	BadHopLimit // NDP with a hop limit below 255
	BadChecksum
	BadCode   // NDP with an ICMPv6 code other than 0
	BadOption // NDP with an option of length 0, too long, or a wrong link-layer address
	reasons
)

// String returns the reason's name as metrics and messages show it.
func (r Reason) String() string {
	names := [reasons]string{
		"answered", "learned", "irrelevant", "inactive", "other-side", "own", "other-host", "announced", "asked",
		"limited", "conflict", "refused", "no-source", "send-failed", "read-failed", "overrun",
		"tagged", "short", "not-neighbor", "bad-arp", "bad-mac", "bad-sender", "bad-target", "bad-ipv6",
		"bad-hop-limit", "bad-checksum", "bad-code", "bad-option",
	}
	if r < reasons {
		return names[r]
	}
	return "unknown"
}

// Counters counts frames by Reason since the Agent was made: range over it and
// take the index as a Reason.
type Counters [reasons]uint64
