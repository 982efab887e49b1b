package frame

// Fault says why a frame can't be told to belong to a connection. The zero Fault
// means that nothing is wrong.
type Fault uint8

const (
	OK                Fault = iota
	FaultShort              // shorter than its headers say or need
	FaultVLAN               // carries a VLAN tag: not ours, configure the VLAN device instead
	FaultNotUnicast         // sent to an Ethernet group address
	FaultEtherType          // neither IPv4 nor IPv6
	FaultIPHeader           // version or header length is nonsense
	FaultIPLength           // the IP length exceeds the frame
	FaultExtension          // too many or broken IPv6 extension headers
	FaultRouting            // an IPv6 routing header with segments left: the VIP is no waypoint
	FaultMapped             // an IPv6 packet with IPv4-mapped addresses, which never go over a wire
	FaultTinyFragment       // first fragment too short for the ports and flags (RFC 1858)
	FaultProtocol           // neither TCP, UDP nor ICMP
	FaultTCPHeader          // TCP data offset is nonsense
	FaultICMPType           // an ICMP message that is neither an error nor an echo request
	FaultICMPQuote          // an ICMP error whose quoted packet can't be read or isn't one from the VIP
	NumFaults
)

// String returns the fault's name in metrics and traces.
func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return "unknown"
}

var faultNames = [NumFaults]string{
	"ok", "short", "vlan", "not-unicast", "ethertype", "ip-header", "ip-length", "extension-header",
	"routing-header", "mapped-address", "tiny-fragment", "protocol", "tcp-header", "icmp-type", "icmp-quote",
}
