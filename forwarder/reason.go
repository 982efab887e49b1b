package forwarder

import "github.com/svm-cluster/svm/forwarder/frame"

// Verdict is what becomes of a frame.
type Verdict uint8

const (
	Drop    Verdict = iota // it ends here
	Forward                // to a real server, with new Ethernet addresses
	Reply                  // turned round by the director itself
)

// String returns the verdict's name in metrics and traces.
func (v Verdict) String() string { return [...]string{"drop", "forward", "reply"}[v] }

// Reason says why a frame got its verdict; each is counted. The first ones are
// frame.Fault's, by their numbers.
type Reason uint8

const (
	firstForward = Reason(frame.NumFaults)

	Known     = firstForward + iota - 1 // of a connection in the table
	Scheduled                           // a new connection, picked by the scheduler
	Persisted                           // a new connection, by the client's persistence
	OnePacket                           // of a service that schedules every packet
	Fallback                            // of no connection in the table; by the consistent hash
	Related                             // an ICMP error about a connection
	Followed                            // a fragment, after its first one
	EchoReply                           // echo request to the VIP, answered

	Standby         // this director is the backup
	NotVIP          // to an address that is no VIP
	NoService       // to a VIP, but to no service there
	NoServer        // no server of the service may take a new connection
	NoNeighbour     // the connection's server has no known MAC address
	Martian         // a source address that can't be a client's
	UnknownFragment // its first fragment was not seen, or not kept
	EchoFragment    // an echo request in fragments
	Unlearned       // of a connection that the other director may just have begun
	NumReasons
)

// Verdict returns the verdict that goes with the reason.
func (r Reason) Verdict() Verdict {
	switch {
	case r >= Known && r <= Followed:
		return Forward
	case r == EchoReply:
		return Reply
	}
	return Drop
}

// String returns the reason's name in metrics and traces.
func (r Reason) String() string {
	if r < firstForward {
		return frame.Fault(r).String()
	}
	if r < NumReasons {
		return reasonNames[r-firstForward]
	}
	return "unknown"
}

var reasonNames = [NumReasons - firstForward]string{
	"known", "scheduled", "persisted", "one-packet", "fallback", "related", "followed", "echo-reply",
	"standby", "not-vip", "no-service", "no-server", "no-neighbour", "martian", "unknown-fragment", "echo-fragment", "unlearned",
}
