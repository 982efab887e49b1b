package provision

// Count names one of a Server's counters.
type Count string

// What a Server counts.
const (
	DHCPOffered      Count = "dhcp_offered"
	DHCPAcknowledged Count = "dhcp_acknowledged"
	DHCPInformed     Count = "dhcp_informed"
	DHCPReleased     Count = "dhcp_released"
	DHCPRefused      Count = "dhcp_refused"       // NAK: another address was asked for
	DHCPWrongAddress Count = "dhcp_wrong_address" // an INFORM from an address that isn't the machine's
	DHCPUnknown      Count = "dhcp_unknown"       // not one of the real servers: not answered
	DHCPConflict     Count = "dhcp_conflict"      // another machine has the address: not answered
	DHCPClaimedTwice Count = "dhcp_claimed_twice" // two machines say the same name at once
	DHCPDeclined     Count = "dhcp_declined"
	DHCPOtherServer  Count = "dhcp_other_server" // meant for another DHCP server
	DHCPRelayed      Count = "dhcp_relayed"      // by a relay outside the server network
	DHCPMalformed    Count = "dhcp_malformed"
	DHCPLimited      Count = "dhcp_limited" // too many messages: dropped
	DHCPFailed       Count = "dhcp_failed"  // an answer that couldn't be made or sent

	HTTPHello   Count = "http_hello"
	HTTPPart    Count = "http_part"
	HTTPSame    Count = "http_same" // 304
	HTTPBundle  Count = "http_bundle"
	HTTPRefused Count = "http_refused" // 403
	HTTPLimited Count = "http_limited" // 429, or too many connections
	HTTPUnready Count = "http_unready" // 503
)
